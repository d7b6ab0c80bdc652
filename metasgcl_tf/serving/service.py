"""TensorFlow Serving's gRPC interface in this process: to test clients without a server. Extra `serving`."""

import contextlib
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

from metasgcl_tf.errors import InputError
from metasgcl_tf.serving.loaded import Loaded


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers `Predict` as TensorFlow Serving does: a request it cannot answer is refused with the reason.

    Args:
        model: an exported model.
        name: that requests call it by.
    """

    def __init__(self, model: Loaded, name: str) -> None:
        self.model, self.name = model, name

    def Predict(self, request: Any, context: grpc.ServicerContext) -> Any:
        """One request."""
        spec = request.model_spec
        if spec.name != self.name:
            context.abort(grpc.StatusCode.NOT_FOUND, f"No such model: {spec.name!r}. Served: {self.name!r}.")
        try:
            inputs = {name: tf.make_ndarray(proto) for name, proto in request.inputs.items()}
            outputs = self.model.ask(spec.signature_name or "serving_default", **inputs)
        except (InputError, ValueError, TypeError, tf.errors.InvalidArgumentError) as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, getattr(error, "message", str(error)))
        response = predict_pb2.PredictResponse(model_spec=spec)
        for name, array in outputs.items():
            response.outputs[name].CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
        return response


@contextlib.contextmanager
def served(folder: str | Path, name: str, threads: int = 8) -> Iterator[str]:
    """Serves an exported model while the block runs, on a free port of this machine; yields the address."""
    server = grpc.server(futures.ThreadPoolExecutor(threads))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Service(Loaded(folder), name), server)
    port = server.add_insecure_port("localhost:0")
    server.start()
    try:
        yield f"localhost:{port}"
    finally:
        server.stop(grace=None).wait()
