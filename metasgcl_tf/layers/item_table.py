"""A table of items that is there to score states, where scores are not tied to an `ItemEmbedding`."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.embedding import catalogue_scores
from metasgcl_tf.layers.initializers import small_normal

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class ItemTable(keras.layers.Layer):
    """Scores states by their dot products with a vector of each item.

    Args:
        num_items: V. Row 0 of the table is padding.
        width: of states and rows.
        bias: the last column is the items' bias: it starts at 0, and states end in a 1.
    """

    def __init__(self, num_items: int, width: int, bias: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)

        def start(shape: tuple, dtype: Any = None) -> Tensor:
            vectors = small_normal()((shape[0], shape[1] - bias), dtype)
            return ops.pad(vectors, [[0, 0], [0, int(bias)]])

        shape = (num_items + 1, width)
        # float32 whatever the policy, as the states it scores are.
        self.table = self.add_weight(name="item_table", shape=shape, initializer=start, autocast=False)
        self.built = True

    @property
    def item_table(self) -> Tensor:
        """`[V, width]`, the rows of the real items."""
        return ops.convert_to_tensor(self.table)[1:]

    def score(self, states: Tensor) -> Tensor:
        """Scores `[B, width]` float32 states against every item: `[B, V + 1]`, column 0 is -inf."""
        return catalogue_scores(states, ops.convert_to_tensor(self.table))
