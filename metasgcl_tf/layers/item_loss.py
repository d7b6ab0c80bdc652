"""The loss over the catalogue: full softmax, or a target against sampled negatives."""

from typing import Any

import keras
import numpy as np
from keras import ops

from metasgcl_tf import backend, losses, sampled_losses

Tensor = Any

SAMPLED = {
    "sampled_softmax": sampled_losses.sampled_softmax,
    "gbce": sampled_losses.gbce,
    "bce": sampled_losses.bce,
    "bpr_max": sampled_losses.bpr_max,
    "top1_max": sampled_losses.top1_max,
}
LOSSES = ("softmax", *SAMPLED)
SAMPLINGS = ("popularity", "log_uniform", "uniform")
# Sampling probabilities are kept as whole shares of this, so that sums of them are exact.
_SHARES = 2**30


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class ItemLoss(keras.layers.Layer):
    """How well states predict their targets among all items.

    The sampled losses draw negatives with replacement: `"bce"` a set for each target, the others one set a
    batch, shared by all its targets. A negative that is a target's own item does not count for it; the
    user's other items do, which SASRec's own sampler leaves out. Formulas: `metasgcl_tf.sampled_losses`.

    Args:
        num_items: V.
        loss: `"softmax"`, over the whole catalogue; `"sampled_softmax"`, corrected by the logarithm of each
            negative's expected count; `"gbce"`; `"bce"`, SASRec's original with `num_negatives=1`; or
            `"bpr_max"` or `"top1_max"`, GRU4Rec's.
        num_negatives: K, of the sampled losses. Of `"bce"` keep it small: it reads K rows for each target.
        negative_sampling: `"popularity"` (training count + 1), `"log_uniform"` (Zipfian in the rank of the
            count) or `"uniform"`; if None, `"uniform"` for `"gbce"` and `"bce"`, `"popularity"` otherwise.
        target_decay: gamma, 0 or more and below 1. Each position is to predict not its next item alone but
            all that follow within the window, the one k steps after the next with a share of gamma^k; for
            logs in which the order of neighbours means little, such as baskets. Shares sum to 1.
        seen_margin: of the softmax, by how much the loss raises the scores of the history's own items, which
            then learn to stay below others; see `metasgcl_tf.losses.softmax_cross_entropy`.
    """

    def __init__(
        self,
        num_items: int,
        loss: str = "softmax",
        num_negatives: int = 512,
        negative_sampling: str | None = None,
        target_decay: float = 0.0,
        seen_margin: float = 0.0,
        **kwargs: Any,
    ) -> None:
        super().__init__(autocast=False, **kwargs)  # sums over a catalogue are float32, and so are weights
        self.num_items, self.loss, self.num_negatives = num_items, loss, num_negatives
        self.target_decay, self.seen_margin = target_decay, seen_margin
        self.static_shapes = backend.static_shapes()
        self.sampling = negative_sampling or ("uniform" if loss in ("gbce", "bce") else "popularity")
        if loss != "softmax":
            self.seed_generator = keras.random.SeedGenerator()
            # Cumulative probabilities in ascending item order, uniform until `adapt`.
            self.cumulative = self.add_weight(
                name="cumulative", shape=(num_items,), dtype="int32", trainable=False
            )
            self._set_probabilities(np.ones(num_items))
        self.built = True  # or `fit` on JAX, in search of what to build, takes a pass from the data

    def adapt(self, item_counts: np.ndarray) -> None:
        """Takes the sampling probabilities from `[V + 1]` training counts."""
        if self.loss == "softmax" or self.sampling == "uniform":
            return
        counts = item_counts[1:].astype(np.float64)
        if self.sampling == "popularity":
            self._set_probabilities(counts + 1)
        else:
            rank = np.argsort(np.argsort(-counts, kind="stable"))
            self._set_probabilities(np.log1p(1 / (rank + 1)))

    def _set_probabilities(self, weights: np.ndarray) -> None:
        # Every item gets a share, or its logarithm could not be taken.
        spare = _SHARES - self.num_items
        cumulative = np.cumsum(weights)
        shares = np.floor(cumulative / cumulative[-1] * spare) + np.arange(1, self.num_items + 1)
        self.cumulative.assign(shares.astype(np.int32))

    def call(
        self,
        states: Tensor,
        targets: Tensor,
        weights: Tensor,
        *,
        embedding: keras.layers.Layer,
        seen: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """The loss of `[..., D]` states whose next items are `targets`.

        Args:
            states: `[..., D]`; with a `target_decay` `[B, T, D]`.
            targets: `[...]` int, 1..V; 0 where there is none.
            weights: `[...]` what each target counts.
            embedding: whose `table` `[V + 1, D]` scores the items.
            seen: `[B, L]`, the sequences, for the `seen_margin`; states are then `[n B, T, D]`.

        Returns:
            The weighted sum over targets, a float32 scalar to minimise, and its terms `[...]`, to report.
        """
        loss, terms = self._of_next(states, targets, weights, embedding, seen)
        if self.target_decay:
            more = weights * self._of_later(states, targets, embedding)
            loss, terms = loss + ops.sum(more), terms + ops.stop_gradient(more)
        return loss, terms

    def _of_next(
        self,
        states: Tensor,
        targets: Tensor,
        weights: Tensor,
        embedding: keras.layers.Layer,
        seen: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """`call` with nothing but the next items as targets."""
        if self.loss == "softmax":
            raised = {"seen": seen, "seen_margin": self.seen_margin}
            return losses.softmax_cross_entropy(
                states, embedding.table, targets, weights, self.static_shapes, **raised
            )
        states = ops.cast(states, "float32")
        negatives = self.draw(ops.shape(targets)) if self.loss == "bce" else self.draw()
        target_rows, negative_rows = (
            ops.cast(backend.take_rows(embedding.table, items), "float32") for items in (targets, negatives)
        )
        target_scores = ops.sum(states * target_rows, axis=-1)
        if self.loss == "bce":
            negative_scores = ops.matmul(negative_rows, states[..., None])[..., 0]
        else:
            negative_scores = ops.matmul(states, ops.transpose(negative_rows))
        if self.loss == "sampled_softmax":
            negative_scores = negative_scores - self.log_expected_count(negatives)
        negative_scores = ops.where(ops.equal(negatives, targets[..., None]), -1e9, negative_scores)
        also = {"num_items": self.num_items} if self.loss == "gbce" else {}
        per_target = SAMPLED[self.loss](target_scores, negative_scores, **also)
        terms = ops.where(ops.not_equal(targets, 0), weights * per_target, 0.0)
        return ops.sum(terms), ops.stop_gradient(terms)

    def _of_later(self, states: Tensor, targets: Tensor, embedding: keras.layers.Layer) -> Tensor:
        """`[B, T]`, what the loss of each position changes by where later items share in its target.

        A cross-entropy is linear in the target's score: what is lost or gained is the difference between the
        next item's score and the shared one's.
        """
        rows = ops.cast(backend.take_rows(embedding.table, targets), "float32")
        real = ops.cast(ops.not_equal(targets, 0), "float32")
        steps = ops.arange(ops.shape(targets)[1])
        ahead = ops.cast(steps[None, :] - steps[:, None], "float32")
        decay = ops.where(ahead >= 0, ops.power(self.target_decay, ops.maximum(ahead, 0.0)), 0.0)
        shares = decay * real[:, None, :]
        shares = shares / ops.maximum(ops.sum(shares, axis=-1, keepdims=True), 1e-12)
        change = rows - ops.matmul(shares, rows)
        return real * ops.sum(ops.cast(states, "float32") * change, axis=-1)

    def draw(self, shape: tuple = ()) -> Tensor:
        """`[*shape, K]` int32 item ids, each drawn with its probability."""
        shape = (*shape, self.num_negatives)
        shares = keras.random.randint(shape, 0, _SHARES, "int32", self.seed_generator)
        drawn = ops.searchsorted(self.cumulative, ops.reshape(shares, (-1,)), side="right")
        return ops.reshape(ops.cast(drawn, "int32") + 1, shape)

    def log_expected_count(self, items: Tensor) -> Tensor:
        """Logarithm of how often each of `[...]` items is expected among the negatives; float32."""
        upper = backend.take_rows(self.cumulative, ops.maximum(items - 1, 0))
        lower = backend.take_rows(self.cumulative, ops.maximum(items - 2, 0))
        shares = upper - ops.where(items > 1, lower, 0)
        return ops.log(ops.cast(shares, "float32") * (self.num_negatives / _SHARES))
