"""SASRec: a causal Transformer that predicts the next item at every position."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.transformer import Transformer, visible_positions
from metasgcl_tf.models.base import Tensor
from metasgcl_tf.models.neural import NeuralRecommender, target_weights


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class SASRec(NeuralRecommender):
    """Self-attentive sequential recommendation (Kang and McAuley 2018).

    Where this departs from the paper: the loss is the softmax over the catalogue (the paper's is binary
    cross-entropy against one negative); attention learns a bias for each distance instead of absolute
    positions, unless `learned_positions`; layer norms stand after each branch, unless `norm_first`; the
    feed-forward nets are 4 D wide inside and use GELU (the paper's are D wide, with ReLU).

    Args:
        num_items: V.
        max_length: L.
        hidden_dim: D, a multiple of `num_heads`.
        num_layers: Transformer blocks.
        num_heads: attention heads.
        dropout: everywhere dropout is applied.
        norm_first: pre-norm blocks instead of post-norm.
        learned_positions: learned positions counted from the end of the window instead of relative ones
            in the attention; suits training on prefixes.
        item_loss: `"softmax"`, `"sampled_softmax"` or `"gbce"`, see `metasgcl_tf.layers.item_loss`.
        num_negatives: negatives of the sampled losses.
        negative_sampling: how they are drawn, see `metasgcl_tf.layers.item_loss`.
        **kwargs: of `keras.Model`.

    Raises:
        InputError: an argument is outside what is said here.
    """

    title = "SASRec"

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        hidden_dim: int = 64,
        num_layers: int = 2,
        num_heads: int = 2,
        dropout: float = 0.2,
        norm_first: bool = False,
        learned_positions: bool = False,
        item_loss: str = "softmax",
        num_negatives: int = 512,
        negative_sampling: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            {k: v for k, v in locals().items() if k not in ("self", "kwargs", "__class__")}, **kwargs
        )
        self.encoder = Transformer(
            num_layers,
            name="encoder",
            num_heads=num_heads,
            max_length=max_length,
            dropout=dropout,
            norm_first=norm_first,
            relative_positions=not learned_positions,
        )
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
        return {
            "states": self.encoder(embedded, visible_positions(item_ids), training=training, newest=newest)
        }

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss over the catalogue as a scalar.

        Args:
            x: the inputs, unused.
            y: `[B, T]` targets of the newest T positions, 0 where there is none.
            y_pred: what `call` returned.
            sample_weight: `[B, T]` weights; the loss is the weighted SUM over targets. By default the mean
                over the batch's targets.
            training: unused.
        """
        states = y_pred["states"][:, -ops.shape(y)[1] :]
        loss, _ = self.item_loss(states, y, target_weights(y, sample_weight), embedding=self.embedding)
        loss = loss + sum(self.losses)
        self.report(loss=loss)
        return loss
