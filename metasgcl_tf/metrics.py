"""Full-ranking metrics: the target's rank among all items, and HR, NDCG and MRR as functions of it.

Axes: B batch, S seen items, V num_items. Item 0 is padding.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

Tensor = Any

CUTOFFS = (5, 10, 20)


def target_ranks(
    scores: Tensor, targets: Tensor, seen: Tensor, items_first: bool = False
) -> tuple[Tensor, Tensor]:
    """Rank of each target among all V items, with seen items masked and with seen items kept.

    A tie counts against the target, and so does a NaN on either side: constant or broken scores cannot
    look good. A target that was seen before stays a candidate: it is what the user did next.

    Args:
        scores: `[B, V + 1]`, higher is better; those of item 0 (padding) are ignored.
        targets: `[B]` int, 1..V.
        seen: `[B, S]` int, items to mask, each at most once a row; 0 where there is none.
        items_first: `scores` are `[V + 1, B]`, which is faster to make and to count.

    Returns:
        `(masked, kept)`, both `[B]` int32, 1 is best.
    """
    targets, seen = ops.cast(targets, "int32")[:, None], ops.cast(seen, "int32")
    scores_of = _picker(scores, items_first)
    target_scores = scores_of(targets)
    # A rival is whatever is not worse. Worse items are counted, because every comparison with NaN is false;
    # negating it would not do: TensorFlow's graph optimizer turns `not a < b` into `a >= b`.
    if items_first:
        worse = ops.less(scores, ops.transpose(target_scores))
        num_worse = ops.sum(ops.cast(worse[1:], "int32"), axis=0)
    else:
        worse = ops.less(scores, target_scores)
        num_worse = ops.sum(ops.cast(worse[:, 1:], "int32"), axis=1)
    kept = ops.shape(scores)[0 if items_first else 1] - 1 - num_worse  # with the target: 1 is best
    rival = ops.logical_and(ops.not_equal(seen, 0), ops.not_equal(seen, targets))
    worse = ops.less(scores_of(seen), target_scores)
    seen_rivals = ops.cast(rival, "int32") - ops.cast(ops.logical_and(rival, worse), "int32")
    return kept - ops.sum(seen_rivals, axis=1), kept


def _picker(scores: Tensor, items_first: bool) -> Callable[[Tensor], Tensor]:
    """A function from `[B, N]` items to their scores, which reads only those.

    `ops.take_along_axis` copies the whole of the scores on TensorFlow.
    """
    columns = ops.shape(scores)[1]
    flat = ops.reshape(scores, (-1,))

    def pick(items: Tensor) -> Tensor:
        users = ops.arange(ops.shape(items)[0], dtype="int32")[:, None]
        return ops.take(flat, items * columns + users if items_first else users * columns + items)

    return pick


def hit_rate(ranks: Tensor, k: int) -> Tensor:
    """HR@k, 1 where the target is among the first k; `[B]` float32."""
    return ops.cast(ops.less_equal(ranks, k), "float32")


def ndcg(ranks: Tensor, k: int) -> Tensor:
    """NDCG@k with one relevant item: 1 / log2(rank + 1) within the first k, else 0; `[B]` float32."""
    return hit_rate(ranks, k) / ops.log2(ops.cast(ranks, "float32") + 1.0)


def reciprocal_rank(ranks: Tensor) -> Tensor:
    """1 / rank over the whole catalogue, whose mean is MRR; `[B]` float32."""
    # Not 1 / rank, which TensorFlow's graph optimizer makes an approximation: 1 / 1 = .9999999.
    return ops.cast(ops.greater_equal(ranks, 1), "float32") / ops.cast(ranks, "float32")


def both_protocols(masked: Tensor, kept: Tensor) -> dict[str, Tensor]:
    """Every reported metric of `target_ranks`: with seen items masked and, as `kept_...`, with them kept."""
    return ranking_metrics(masked) | {f"kept_{name}": value for name, value in ranking_metrics(kept).items()}


def ranking_metrics(ranks: Tensor) -> dict[str, Tensor]:
    """Every reported metric of the given ranks, by name; each `[B]` float32."""
    values = {f"hr@{k}": hit_rate(ranks, k) for k in CUTOFFS}
    values |= {f"ndcg@{k}": ndcg(ranks, k) for k in CUTOFFS}
    return values | {"mrr": reciprocal_rank(ranks)}


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class RankingMeans(keras.metrics.Metric):
    """Means over users of every reported metric, both protocols, in one variable.

    Kept apart, as fourteen metrics with two variables each, they take longer than a batch's ranking.
    """

    def __init__(self, name: str = "ranking", **kwargs: Any) -> None:
        super().__init__(name=name, **kwargs)
        self.names = list(ranking_metrics(ops.ones((1,), "int32")))
        self.sums = self.add_variable((2, len(self.names)), "zeros", name="sums")
        self.users = self.add_variable((), "zeros", name="users")

    def update_state(self, masked: Tensor, kept: Tensor) -> None:
        """Adds the users of `target_ranks`."""
        values = ranking_metrics(ops.stack([masked, kept]))
        self.sums.assign_add(ops.stack([ops.sum(value, axis=1) for value in values.values()], axis=1))
        self.users.assign_add(ops.cast(ops.shape(masked)[0], "float32"))

    def result(self) -> dict[str, Tensor]:
        """The means, by the names of `both_protocols`."""
        means = ops.reshape(self.sums, (-1,)) / ops.maximum(self.users, 1.0)
        names = (*self.names, *(f"kept_{name}" for name in self.names))
        return {name: means[place] for place, name in enumerate(names)}
