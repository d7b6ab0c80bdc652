"""What an exported model answers runtimes that know tensors alone."""

from typing import Any

import tensorflow as tf

from metasgcl_tf.models.base import SequentialRecommender

Tensor = Any


class Core(tf.Module):
    """Answers dense ids with dense ids: nothing but tensors, for runtimes without tables and text.

    Args:
        model: a trained model.
        k: how many items to answer with.
    """

    def __init__(self, model: SequentialRecommender, k: int) -> None:
        super().__init__()
        self.max_length, self.k = model.max_length, k
        keep_variables(self, model)
        self.best_of = model.best_items

    def signatures(self) -> dict[str, Any]:
        """The endpoint: `history` `[B, L]` int32, left padded with 0, to `item_ids` and `scores` `[B, k]`.

        Items of the history are left out.
        """

        @tf.function(input_signature=[tf.TensorSpec([None, self.max_length], tf.int32, "history")])
        def recommend(history: Tensor) -> dict[str, Tensor]:
            best, scores = self.best_of(history, k=self.k, exclude_seen=True)
            return {"item_ids": best, "scores": scores}  # ONNX needs other names than the input's

        return {"serving_default": recommend}


def keep_variables(module: tf.Module, model: SequentialRecommender) -> None:
    """Gives a module the variables of a model; of the model itself, TensorFlow would export everything."""
    module.model_variables = [variable.value for variable in model.variables]
