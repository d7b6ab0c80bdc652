"""Exported models, asked in this process. Needs TensorFlow, none of the models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from metasgcl_tf.errors import InputError, require, require_known
from metasgcl_tf.safe_loading import check_links


class Loaded:
    """An exported model in this process, asked as a server would: by signature, defaults filled in.

    A SavedModel is a program, which may do what TensorFlow can: load those of people you trust. (A run folder
    is none: `metasgcl_tf.safe_loading` checks what is in it.)

    Args:
        folder: of the SavedModel, such as `NAME/1` or `NAME/1/core`.

    Raises:
        InputError: the folder holds no SavedModel, or one with files that lie outside of it.
    """

    def __init__(self, folder: str | Path) -> None:
        check_files(Path(folder))
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            model = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder))
        self.signatures = dict(model.signature_def)

    def ask(self, endpoint: str = "serving_default", **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs of an endpoint.

        Raises:
            InputError: no such endpoint or input, or an input of another type.
        """
        require_known("endpoint", endpoint, self.signatures)
        signature, feeds = self.signatures[endpoint], {}
        for name, value in inputs.items():
            require_known("inputs", name, signature.inputs)
            wanted = tf.as_dtype(signature.inputs[name].dtype)
            array = np.asarray(value, object if wanted == tf.string else None)
            if wanted == tf.string:
                strangers = [each for each in array.flat if not isinstance(each, str | bytes)]
                require(not strangers, name, "text", strangers[:1])
            else:
                fits = np.can_cast(array.dtype, wanted.as_numpy_dtype, "same_kind")
                require(fits, name, f"of type {wanted.name}", array.dtype.name)
                array = array.astype(wanted.as_numpy_dtype)
            feeds[signature.inputs[name].name] = array
        return self.session.run({name: each.name for name, each in signature.outputs.items()}, feeds)


def check_files(folder: Path) -> None:
    """Raises an `InputError` where a SavedModel reads files outside of its folder: by links or by names."""
    check_links(folder, "folder")
    path = folder / "saved_model.pb"
    try:
        found = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    except Exception as error:  # of the file system, or of protobuf
        reason = str(getattr(error, "strerror", None) or error)
        raise InputError(f"`folder` should hold a SavedModel. Received: {path} ({reason:.200}).") from None
    for graph in found.meta_graphs:
        for asset in graph.asset_file_def:
            plain = Path(asset.filename).name == asset.filename != ".." and "\\" not in asset.filename
            require(plain, "folder", "a SavedModel whose files lie in it", asset.filename)


def padded(histories: Sequence[Sequence[int | str]]) -> list[list[int | str]]:
    """Histories as rows of one length, filled up in front with what no log has: the empty text, or -1."""
    fill = -1 if any(isinstance(item, int) for row in histories for item in row) else ""
    longest = max(map(len, histories))
    return [[fill] * (longest - len(row)) + list(row) for row in histories]
