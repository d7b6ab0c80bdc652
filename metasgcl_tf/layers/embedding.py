"""Item embedding, tied to the scores over the catalogue."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf import backend
from metasgcl_tf.layers.initializers import small_normal

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class ItemEmbedding(keras.layers.Layer):
    """Embeds item ids, optionally adds a position, then layer norm and dropout (paper, eq. 4).

    With `learned_positions` the position is counted from the END of the window: the newest item always
    has the same one, whatever the padding. That suits models trained on the newest position only; with
    one causal pass over all positions, leave it off and let attention use relative positions.

    The layer norm makes all items equally loud. Without it vectors count as long as they have become, times
    sqrt(D) as in SASRec (Kang and McAuley 2018): a rare item, whose vector is short, then says less than a
    frequent one.

    Args:
        num_items: V. Row 0 of the table is padding.
        hidden_dim: D.
        max_length: longest window, L.
        dropout: rate of what is returned.
        learned_positions: add a learned position vector.
        input_norm: layer norm, otherwise times sqrt(D).
    """

    def __init__(
        self,
        num_items: int,
        hidden_dim: int,
        max_length: int,
        dropout: float = 0.0,
        learned_positions: bool = False,
        input_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.num_items, self.hidden_dim, self.max_length = num_items, hidden_dim, max_length
        self.learned_positions, self.input_norm = learned_positions, input_norm
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, input_shape: tuple) -> None:
        """Creates the item table `[V + 1, D]` and the position table `[L, D]`."""
        self.table = self.add_weight(
            name="item_table", shape=(self.num_items + 1, self.hidden_dim), initializer=small_normal()
        )
        if self.learned_positions:
            self.positions = self.add_weight(
                name="positions", shape=(self.max_length, self.hidden_dim), initializer=small_normal()
            )
        self.normalization = (
            keras.layers.LayerNormalization(epsilon=1e-6)
            if self.input_norm
            else keras.layers.Rescaling(self.hidden_dim**0.5)
        )
        self.normalization.build((*input_shape, self.hidden_dim))

    def call(self, item_ids: Tensor, training: bool = False) -> Tensor:
        """Embeds `[B, L]` int ids as `[B, L, D]`."""
        embedded = backend.take_rows(self.table, item_ids)
        if self.learned_positions:
            embedded = embedded + self.positions[-ops.shape(item_ids)[1] :]
        return self.dropout(self.normalization(embedded), training=training)

    @property
    def item_table(self) -> Tensor:
        """`[V, D]`, the rows of the real items."""
        return ops.convert_to_tensor(self.table)[1:]

    def score(self, states: Tensor) -> Tensor:
        """Scores `[B, D]` states against every item (paper, eq. 22): `[B, V + 1]`, column 0 is -inf."""
        return catalogue_scores(states, ops.convert_to_tensor(self.table))


def catalogue_scores(user_vectors: Tensor, item_vectors: Tensor) -> Tensor:
    """Products of `[B, D]` with `[V + 1, D]`: `[B, V + 1]` float32, column 0 (padding) is -inf."""
    scores = ops.cast(ops.matmul(user_vectors, ops.transpose(item_vectors)), "float32")
    # A sum goes where the product is, which spares the largest tensor of an evaluation a copy. Padded, for an
    # exported graph would hold a list as long as the catalogue.
    return scores + ops.pad(ops.zeros(item_vectors.shape[0] - 1), [[1, 0]], constant_values=float("-inf"))


def with_score(scores: Tensor, item_ids: Tensor, score: Tensor | float) -> Tensor:
    """`[B, V + 1]` scores with another one, or others `[B, N]`, at `[B, N]` item ids."""
    rows = ops.broadcast_to(ops.arange(ops.shape(item_ids)[0])[:, None], ops.shape(item_ids))
    places = ops.reshape(ops.stack([rows, item_ids], axis=-1), (-1, 2))
    return ops.scatter_update(
        scores, places, ops.reshape(ops.broadcast_to(score, ops.shape(item_ids)), (-1,))
    )
