"""Caser: convolutions over the newest items, and a vector of the user."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.layers.convolutions import WindowConvolutions
from metasgcl_tf.layers.item_table import ItemTable
from metasgcl_tf.layers.user_embedding import UserEmbedding
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.known_users import adapt_users
from metasgcl_tf.models.neural import NeuralRecommender, rule_checker


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class Caser(NeuralRecommender):
    """Convolutional sequence embedding (Tang and Wang 2018).

    Horizontal and vertical filters look at the newest `markov_order` items as an image; a dense layer makes
    the sequence vector z of what they find; z beside the user's vector P_u scores the items by a table W' of
    their own, twice as wide, with a bias (eq. 3-10). `adapt(split)` comes before `compile`: it takes the
    number of users from the log. A user is known by `user_index`, the row in that log; without it, and of
    a user that is not in the log, P_u is the mean of all users' vectors.

    Where this departs from the paper: the loss is the softmax over the catalogue (the paper's is binary
    cross-entropy against 3 negatives: `item_loss="bce"`, `num_negatives=3`) of the next item alone (the
    paper's also of the two after it, its T = 3); items go through layer norm and dropout before the
    filters; padding is 0 and learns nothing; there is no weight decay but that of the optimizer.

    Args:
        num_items: V.
        max_length: L, the newest items given to the model; it looks at `markov_order` of them.
        num_users: U, users of the training log; `adapt` sets it.
        markov_order: items that the filters look at, the paper's L.
        num_horizontal: horizontal filters of each height 1, ..., `markov_order`.
        num_vertical: vertical filters.
        **kwargs: of `NeuralRecommender`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "Caser"
    training_recipe = staticmethod(pipelines.every_prefix)

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        num_users: int = 0,
        markov_order: int = 5,
        num_horizontal: int = 16,
        num_vertical: int = 4,
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        Caser.check_arguments(**self.config)
        filters = (num_horizontal, num_vertical)
        self.convolutions = WindowConvolutions(markov_order, *filters, name="convolutions")
        self.dropout = keras.layers.Dropout(self.config["dropout"])
        # Weights of filters and dense layer start as Keras' do, as wide as their inputs are many.
        self.sequence = keras.layers.Dense(self.hidden_dim, activation="relu", name="sequence")
        self.users = UserEmbedding(num_users, self.hidden_dim, name="users")
        self.items = ItemTable(num_items, 2 * self.hidden_dim + 1, bias=True, name="items")
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        NeuralRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("at least 1", lambda n: n >= 1, "markov_order", "num_horizontal", "num_vertical")

    @property
    def scored_items(self) -> ItemTable:
        """See the base class."""
        return self.items

    def adapt(self, split: Split) -> None:
        """Gives each user of the log a vector, besides what every neural model takes; before `compile`."""
        super().adapt(split)
        adapt_users(self, split)

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """`states` `[B, L, 2 D + 1]`: the sequence vector, the user's and a 1 for the bias.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; and `user_index` `[B]` int,
                if the users are known.
            training: apply dropout.
            newest: how many positions to compute states for; by default all.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        positions = ops.shape(item_ids)[1] if newest is None else newest
        before = self.config["markov_order"] - 1
        recent = ops.pad(item_ids, [[0, 0], [before, 0]])[:, -(positions + before) :]
        embedded = self.embedding(recent, training=training)
        real = ops.cast(ops.not_equal(recent, 0), embedded.dtype)
        found = self.dropout(self.convolutions(embedded * real[:, :, None]), training=training)
        sequence = ops.cast(self.sequence(found), "float32")
        users = self.users(inputs.get("user_index"), training=training)
        users = ops.broadcast_to(users if users.ndim == 1 else users[:, None], ops.shape(sequence))
        return {"states": ops.concatenate([sequence, users, ops.ones_like(sequence[..., :1])], axis=-1)}

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """See the base class.

        Raises:
            InputError: the batch names users, and there is no vector for anybody.
        """
        if "user_index" in inputs:
            self.users.check_known()
        return super().training_outputs(inputs, targets)
