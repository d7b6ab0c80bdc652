"""Popularity: everybody gets the most frequent items of the training part."""

from typing import Any

import keras
import numpy as np
from keras import ops

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.models.base import SequentialRecommender, Tensor


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class Pop(SequentialRecommender):
    """Scores an item by its number of training interactions; learned by `adapt`, there is nothing to fit.

    Args:
        num_items: V.
        max_length: accepted like every model's; the history is not looked at.
        **kwargs: of `keras.Model`.
    """

    title = "Pop"

    def __init__(self, num_items: int, max_length: int = 50, **kwargs: Any) -> None:
        super().__init__(num_items, max_length, **kwargs)
        self.item_counts = self.add_weight(
            name="item_counts", shape=(num_items + 1,), initializer="zeros", trainable=False, autocast=False
        )
        self.create_variables()

    def adapt(self, split: Split) -> None:
        """Counts the training interactions of each item."""
        self.item_counts.assign(split.item_counts().astype(np.float32))

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """`scores` `[B, V + 1]`, the same in every row."""
        scores = ops.pad(self.item_counts[1:], [[1, 0]], constant_values=float("-inf"))
        return {"scores": ops.tile(scores[None], (ops.shape(inputs["item_ids"])[0], 1))}

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """See the base class."""
        return self(inputs)["scores"]
