"""BERT4Rec: a bidirectional Transformer that fills in hidden items."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf import backend
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.augmentations import random_order
from metasgcl_tf.layers.initializers import small_normal
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import TransformerRecommender, rule_checker


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class BERT4Rec(TransformerRecommender):
    """Sequential recommendation with bidirectional encoder representations (Sun et al. 2019).

    Training hides items of a window behind [mask], which the model fills in from both sides (Cloze): of a
    window with n targets `round(mask_prob n)` at random, at least one, or in some samples the newest alone,
    drawn anew at every step. To recommend, [mask] follows the newest `max_length - 1` items, and its state
    scores the next one. [mask]'s vector is row 0 of the item table: padding, whose row it is, is never seen.

    Where this departs from the paper: samples with the newest item hidden are drawn with `last_only_prob`
    instead of being made beside the others; positions are counted from the end of the window, so that [mask]
    always stands at the same one; the windows of a long history overlap by a quarter, in which no item is
    hidden (the authors' by nine tenths); the scores lack a bias for each item. As in the authors' code a
    layer norm follows the projection of eq. 7, and what is hidden is always replaced by [mask].

    Args:
        num_items: V.
        max_length: L, [mask] included.
        mask_prob: share of the items to hide. The paper's is .2 on ML-1M and ML-20M, .4 on Steam and .6 on
            Beauty.
        last_only_prob: share of samples in which the newest item alone is hidden; the authors' is 1 of 11.
        learned_positions: positions counted from the end. Relative ones know distances to earlier items only.
        **kwargs: of `TransformerRecommender`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "BERT4Rec"
    training_recipe = staticmethod(pipelines.own_item)

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        mask_prob: float = 0.2,
        last_only_prob: float = 0.1,
        learned_positions: bool = True,
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, learned_positions=learned_positions, **kwargs)
        self.config |= own
        BERT4Rec.check_arguments(**self.config)
        self.mask_prob, self.last_only_prob = mask_prob, last_only_prob
        self.seed_generator = keras.random.SeedGenerator()
        self.encoder = self.transformer(self.config["num_layers"], name="encoder")
        self.projection = keras.layers.Dense(
            self.hidden_dim, activation="gelu", kernel_initializer=small_normal(), name="projection"
        )
        self.normalization = keras.layers.LayerNormalization(epsilon=1e-6, name="projection_norm")
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        TransformerRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("above 0 and at most 1", lambda x: 0 < x <= 1, "mask_prob")
        check("between 0 and 1", lambda x: 0 <= x <= 1, "last_only_prob")

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """`states` `[B, L, D]` of a window, or of that many `newest` positions only, and what it `hidden`.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count. `hidden` `[B, L]` bool says which of them [mask]
                stands for; without it [mask] is put behind the newest item, as the newest position.
            training: apply dropout.
            newest: how many positions to compute states for; by default all.
        """
        item_ids, hidden = inputs["item_ids"], inputs.get("hidden")
        if hidden is None:
            hidden = ops.pad(ops.zeros_like(item_ids), [[0, 0], [0, 1]], constant_values=1) > 0
            item_ids = ops.pad(item_ids, [[0, 0], [0, 1]])
        item_ids, hidden = item_ids[:, -self.max_length :], hidden[:, -self.max_length :]
        visible = visible_on_both_sides(ops.logical_or(hidden, ops.not_equal(item_ids, 0)))
        embedded = self.embedding(ops.where(hidden, 0, item_ids), training=training)
        encoded = self.encoder(embedded, visible, training=training, newest=newest)
        return {"states": self.normalization(self.projection(encoded)), "hidden": hidden}

    def draw_hidden(self, targets: Tensor) -> Tensor:
        """Which of `[B, L]` targets (0 = none, the newest last) to hide this time, `[B, L]` bool."""
        real = ops.not_equal(targets, 0)
        wanted = ops.sum(ops.cast(real, "float32"), axis=1, keepdims=True) * self.mask_prob
        wanted = ops.maximum(ops.floor(wanted + 0.5), 1.0)
        rank = random_order(targets, self.seed_generator)
        last_only = keras.random.uniform((ops.shape(targets)[0], 1), seed=self.seed_generator)
        last = ops.arange(ops.shape(targets)[1])[None] == ops.shape(targets)[1] - 1
        chosen = ops.where(last_only < self.last_only_prob, last, ops.cast(rank, "float32") < wanted)
        return ops.logical_and(chosen, real)

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """What `call` returns in training, with some of the targets hidden.

        Raises:
            tf.errors.InvalidArgumentError: a target is not the item at its place, as those of `next_item` are
                not: [mask] would learn the item after the hidden one. Not on JAX, which cannot look.
        """
        own = ops.logical_or(ops.equal(targets, 0), ops.equal(targets, inputs["item_ids"]))
        backend.check(ops.all(own), "targets should be the items of the window: see the recipe own_item")
        window = {"item_ids": inputs["item_ids"], "hidden": self.draw_hidden(targets)}
        return self(window, training=True)

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of the hidden items over the catalogue as a scalar.

        Args:
            x: the inputs, unused.
            y: `[B, L]` the items themselves, 0 where there is no target; those hidden count.
            y_pred: what `call` returned.
            sample_weight: `[B, L]` weights; the loss is the sum over hidden items, weighted by them over
                `mask_prob`: each counts the same whatever the batch. By default their mean.
            training: unused.
        """
        y = ops.where(y_pred["hidden"], y, 0)
        weights = None if sample_weight is None else sample_weight / self.mask_prob
        return super().compute_loss(x, y, y_pred, weights)


def visible_on_both_sides(real: Tensor) -> Tensor:
    """Which positions each position may attend to: all that are no padding.

    Args:
        real: `[B, L]` bool.

    Returns:
        `[B, 1, L, L]` bool, `[b, 0, i, j]` true where i may look at j.
    """
    return ops.logical_and(ops.ones_like(real)[:, None, :, None], real[:, None, None, :])
