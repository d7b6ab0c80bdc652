"""BPR-MF: matrix factorisation, trained to rank what a user has above what the user has not."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf import backend, sampled_losses
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require
from metasgcl_tf.layers.item_table import ItemTable
from metasgcl_tf.layers.user_embedding import UserEmbedding
from metasgcl_tf.models.base import SequentialRecommender, Tensor, arguments_of
from metasgcl_tf.models.known_users import adapt_users
from metasgcl_tf.models.neural import rule_checker, target_weights


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class BPRMF(SequentialRecommender):
    """Bayesian personalised ranking of a matrix factorisation (Rendle et al. 2009).

    A user and an item have a vector each, their score is the dot product, and -log sigmoid(item - negative)
    teaches it, once an epoch for each interaction of the training part, whatever the order. A user of the
    log is known by `user_index`, the row in it, and scored by the vector learned; the history is not looked
    at. Without `user_index` the history gets a vector by `fold_in`. `adapt(split)` comes before `compile`:
    it takes the number of users from the log.

    Where this departs from the paper: negatives are drawn uniformly from all items but the target, so that
    now and then one is another item of the user (the paper draws from the items that the user has not);
    interactions are shuffled epoch by epoch instead of drawn with replacement; the updates are those of the
    optimizer. How to score a new user the paper does not say.

    Args:
        num_items: V.
        max_length: L, the newest items of a history that `fold_in` looks at.
        num_users: U, users of the training log; `adapt` sets it.
        hidden_dim: D, the size of the vectors of items and states.
        num_negatives: K, negatives drawn for each interaction; the loss is the mean over them.
        l2_weight: lambda; each interaction adds half of it times the squared lengths of its vectors: user,
            item and (their mean) negatives.
        **kwargs: of `keras.Model`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "BPR-MF"
    training_recipe = staticmethod(pipelines.every_interaction)

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        num_users: int = 0,
        hidden_dim: int = 64,
        num_negatives: int = 1,
        l2_weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        config = arguments_of(locals())
        BPRMF.check_arguments(**config)
        super().__init__(num_items, max_length, **kwargs)
        self.config = config
        self.users = UserEmbedding(num_users, hidden_dim, name="users")
        self.embedding = ItemTable(num_items, hidden_dim, name="items")
        self.seed_generator = keras.random.SeedGenerator()
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        SequentialRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("at least 1", lambda n: n >= 1, "hidden_dim", "num_negatives")
        check("0 or more", lambda x: x >= 0, "l2_weight")

    def adapt(self, split: Split) -> None:
        """Gives each user of the log a vector; before `compile`."""
        adapt_users(self, split)

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """`states` `[B, 1, D]` float32, the vectors of the users.

        Args:
            inputs: `user_index` `[B]` int, if the users are known (one that is not in the log gets the mean
                of all vectors); otherwise `item_ids` `[B, L]` int, left padded with 0, newest last.
            training: every user is known.
        """
        if "user_index" in inputs:
            return {"states": self.users(inputs["user_index"], training=training)[:, None]}
        history = inputs["item_ids"][:, -self.max_length :]
        return {"states": fold_in(history, self.embedding.table, self.users())[:, None]}

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """See the base class.

        Raises:
            InputError: the batch does not say whose it is, or there is no vector for anybody.
        """
        self.users.check_known()
        require("user_index" in inputs, "user_index", "in every training batch", sorted(inputs))
        return super().training_outputs(inputs, targets)

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The pairwise loss and the regularisation as a scalar.

        Args:
            x: the inputs, unused.
            y: `[B, T]` items that the users have, 0 where there is none.
            y_pred: what `call` returned.
            sample_weight: `[B, T]` weights; the loss is the weighted SUM over targets. By default the mean
                over the batch's targets.
            training: unused.
        """
        users, negatives = y_pred["states"], self.draw(ops.shape(y))
        targets, others = (backend.take_rows(self.embedding.table, items) for items in (y, negatives))
        negative_scores = ops.matmul(others, users[..., None])[..., 0]
        negative_scores = ops.where(ops.equal(negatives, y[..., None]), -1e9, negative_scores)
        per_target = sampled_losses.bpr(ops.sum(users * targets, axis=-1), negative_scores)
        squares = _squared_length(users) + _squared_length(targets)
        squares = squares + ops.mean(_squared_length(others), axis=-1)
        per_target = per_target + self.config["l2_weight"] / 2 * squares
        loss = ops.sum(target_weights(y, sample_weight) * per_target) + sum(self.losses)
        self.report(loss=loss)
        return loss

    def draw(self, shape: tuple) -> Tensor:
        """`[*shape, K]` int32 item ids, each as likely as any other."""
        shape = (*shape, self.config["num_negatives"])
        return keras.random.randint(shape, 1, self.num_items + 1, "int32", self.seed_generator)

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """See the base class."""
        return self.embedding.score(self(inputs, training=False)["states"][:, 0])


def fold_in(item_ids: Tensor, item_table: Tensor, prior: Tensor) -> Tensor:
    """Vectors of users that are known by their histories alone.

    The p that minimises, over the items h of the history and all items j of the catalogue,

        sum_h mean_j (1 - p . (q_h - q_j))^2 + ridge |p - prior|^2

    that is the pairwise loss of the model with squares in place of its logarithms, so that there is a closed
    form: with c = q - mean(q) and C the covariance of all q,

        (sum_h (c_h c_h' + C) + ridge I) p = sum_h c_h + ridge prior.

    The ridge is the mean variance of the items' dimensions, what one interaction weighs in a direction:
    an empty history has the prior, a long one forgets it.

    Args:
        item_ids: `[B, L]` int, 0 is padding. An item counts as often as it is there.
        item_table: `[V + 1, D]`; row 0 is padding.
        prior: `[D]`, the vector of a user without a history.

    Returns:
        `[B, D]` float32.
    """
    table = ops.cast(ops.convert_to_tensor(item_table), "float32")
    mean = ops.mean(table[1:], axis=0)
    centred, real = table - mean, ops.cast(ops.not_equal(item_ids, 0), "float32")
    covariance = ops.matmul(ops.transpose(centred[1:]), centred[1:]) / (table.shape[0] - 1)
    ridge = ops.mean(ops.diagonal(covariance)) + 1e-6  # of items that are all alike, too
    history = ops.take(centred, item_ids, axis=0) * real[..., None]
    products = ops.matmul(ops.transpose(history, (0, 2, 1)), history)
    count = ops.sum(real, axis=1)[:, None, None]
    left = products + count * covariance + ridge * ops.eye(table.shape[1])
    right = ops.sum(history, axis=1) + ridge * prior
    return ops.solve(left, right[..., None])[..., 0]  # JAX wants a matrix on the right


def _squared_length(vectors: Tensor) -> Tensor:
    return ops.sum(ops.square(vectors), axis=-1)
