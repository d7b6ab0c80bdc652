"""SASRec: a causal Transformer that predicts the next item at every position."""

from typing import Any

import keras

from metasgcl_tf.layers.transformer import visible_positions
from metasgcl_tf.models.base import Tensor
from metasgcl_tf.models.neural import TransformerRecommender


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class SASRec(TransformerRecommender):
    """Self-attentive sequential recommendation (Kang and McAuley 2018).

    Where this departs from the paper: the loss is the softmax over the catalogue (the paper's is binary
    cross-entropy against one negative); attention learns a bias for each distance instead of absolute
    positions, unless `learned_positions`; layer norms stand after each branch, unless `norm_first`; the
    feed-forward nets are 4 D wide inside and use GELU (the paper's are D wide, with ReLU).

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        **kwargs: of `TransformerRecommender`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "SASRec"

    def __init__(self, num_items: int, max_length: int = 50, **kwargs: Any) -> None:
        super().__init__(num_items, max_length, **kwargs)
        self.encoder = self.transformer(self.config["num_layers"], name="encoder")
        self.create_variables()

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """`states` `[B, L, D]`, or of that many `newest` positions only.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count.
            training: apply dropout.
            newest: how many positions to compute states for; by default all.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        embedded = self.embedding(item_ids, training=training)
        visible = visible_positions(item_ids)
        return {"states": self.encoder(embedded, visible, training=training, newest=newest)}
