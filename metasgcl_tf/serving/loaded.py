"""Exported models, asked in this process. Needs TensorFlow, none of the models."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from metasgcl_tf.errors import require, require_known


class Loaded:
    """An exported model in this process, asked as a server would: by signature, defaults filled in.

    Args:
        folder: of the SavedModel, such as `NAME/1` or `NAME/1/core`.
    """

    def __init__(self, folder: str | Path) -> None:
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


def padded(histories: Sequence[Sequence[int | str]]) -> list[list[int | str]]:
    """Histories as rows of one length, filled up in front with what no log has: the empty text, or -1."""
    fill = -1 if any(isinstance(item, int) for row in histories for item in row) else ""
    longest = max(map(len, histories))
    return [[fill] * (longest - len(row)) + list(row) for row in histories]
