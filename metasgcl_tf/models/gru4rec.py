"""GRU4Rec: a recurrent net that predicts the next item at every position."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import NeuralRecommender, rule_checker


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class GRU4Rec(NeuralRecommender):
    """Gated recurrent units over the sequence (Hidasi et al. 2016; Hidasi and Karatzoglou 2018).

    Where this departs from the papers: the loss is the softmax over the catalogue, theirs are
    `item_loss="top1_max"` or `"bpr_max"` on linear scores (they also pass scores through an activation)
    with sampled negatives alone, not with the other targets of the batch; items share one table on both
    sides, whose rows go through layer norm and dropout on the way in (the authors' "constrained embedding",
    without the norm); each history is a window of its own that starts from a zero state, where theirs carry
    the state on through parallel sessions and cut the gradient at each step; dropout stands after each GRU
    and leaves its state alone; the reset gate acts after the product with the recurrent weights.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        num_layers: GRUs on top of each other, each `hidden_dim` wide.
        **kwargs: of `NeuralRecommender`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "GRU4Rec"

    def __init__(self, num_items: int, max_length: int = 50, *, num_layers: int = 1, **kwargs: Any) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        GRU4Rec.check_arguments(**self.config)
        # A loop, not unrolled: batches come in many lengths, and each would be a graph of its own. No cuDNN,
        # whose kernel refuses padding on the left. Weights start as Keras' do: Glorot and orthogonal, since
        # a state decays under small recurrent weights.
        self.recurrent = [
            keras.layers.GRU(self.hidden_dim, return_sequences=True, use_cudnn=False, name=f"gru_{number}")
            for number in range(num_layers)
        ]
        self.dropout = keras.layers.Dropout(self.config["dropout"])
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        NeuralRecommender.check_arguments(**arguments)
        rule_checker(arguments)("at least 1", lambda n: n >= 1, "num_layers")

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """`states` `[B, L, D]`, or of that many `newest` positions only; those of padding are 0.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count.
            training: apply dropout.
            newest: how many positions to return states of; by default all.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        real = ops.not_equal(item_ids, 0)  # elsewhere the state stays as it is
        states = self.embedding(item_ids, training=training)
        for layer in self.recurrent:
            states = self.dropout(layer(states, mask=real), training=training)
        return {"states": states if newest is None else states[:, -newest:]}
