"""Requests that TensorFlow Serving answers to itself before it serves a version. Extra `serving`."""

from pathlib import Path

import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from metasgcl_tf.serving.client import predict_request
from metasgcl_tf.serving.loaded import padded

FILE = "tf_serving_warmup_requests"


def write_requests(folder: Path, name: str, histories: list[list], embed: bool) -> None:
    """Writes the file: every endpoint, for one user and for 64.

    Args:
        folder: `assets.extra` of the version.
        name: that the model is served by.
        histories: raw ids.
        embed: whether the model has that endpoint.
    """
    folder.mkdir()
    with tf.io.TFRecordWriter(str(folder / FILE)) as writer:
        for users in (1, 64):
            history = padded((histories * 64)[:users])
            requests = {"serving_default": {}, "score_items": {"candidates": history[:1]}}
            if embed:
                requests["embed"] = {}
            for endpoint, more in requests.items():
                log = prediction_log_pb2.PredictionLog()
                request = predict_request(name, endpoint, {"history": history} | more)
                log.predict_log.request.CopyFrom(request)
                writer.write(log.SerializeToString())
