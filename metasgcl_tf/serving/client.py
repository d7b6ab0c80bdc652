"""Asking a server by TensorFlow Serving's gRPC interface. Needs the extra `serving`."""

from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc

DTYPES = {"k": np.int32, "samples": np.int32, "exclude_seen": np.bool_}  # ids: text or int64


class Client:
    """A model on a server, asked as `Loaded` is.

    Args:
        address: host and port, such as `"localhost:8500"`.
        model: the name it is served by.
        timeout: seconds to wait for an answer.
    """

    def __init__(self, address: str, model: str, timeout: float = 10.0) -> None:
        self.model, self.timeout = model, timeout
        self.channel = grpc.insecure_channel(address)
        self.stub = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)

    def ask(self, endpoint: str = "serving_default", **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs of an endpoint.

        Raises:
            grpc.RpcError: no answer in time, or one that refuses the request and says why.
        """
        request = predict_request(self.model, endpoint, inputs)
        response = self.stub.Predict(request, timeout=self.timeout)
        return {name: tf.make_ndarray(proto) for name, proto in response.outputs.items()}

    def close(self) -> None:
        """Ends the connection."""
        self.channel.close()


def predict_request(model: str, endpoint: str, inputs: dict[str, Any]) -> predict_pb2.PredictRequest:
    """The message that asks an endpoint of a model; arrays keep their type, numbers in lists are int64."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name, request.model_spec.signature_name = model, endpoint
    for name, value in inputs.items():
        array = value if isinstance(value, np.ndarray) else np.asarray(value, object)
        if not all(isinstance(each, str | bytes) for each in array.flat):
            array = np.asarray(value, DTYPES.get(name))
        request.inputs[name].CopyFrom(tf.make_tensor_proto(array, shape=array.shape))
    return request
