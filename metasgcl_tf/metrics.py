"""Full-ranking metrics: the target's rank among all items, and HR, NDCG and MRR as functions of it.

Axes: B batch, S seen items, V num_items. Item 0 is padding.
"""

from typing import Any

from keras import ops

Tensor = Any

CUTOFFS = (5, 10, 20)


def target_ranks(scores: Tensor, targets: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
    """Rank of each target among all V items, with seen items masked and with seen items kept.

    A tie counts against the target, and so does a NaN on either side: constant or broken scores cannot
    look good. The target's own column is left out of the count, so it may come from any kernel. A target
    that was seen before stays a candidate: it is what the user did next.

    Args:
        scores: `[B, V + 1]`, higher is better; column 0 (padding) is ignored.
        targets: `[B]` int, 1..V.
        seen: `[B, S]` int, items to mask, each at most once a row; 0 where there is none.

    Returns:
        `(masked, kept)`, both `[B]` int32, 1 is best.
    """
    targets = ops.cast(targets, "int32")[:, None]
    seen = ops.cast(seen, "int32")
    target_scores = ops.take_along_axis(scores, targets, axis=1)
    # A rival is whatever is not worse. Worse items are counted, because every comparison with NaN is false;
    # negating it would not do: TensorFlow's graph optimizer turns `not a < b` into `a >= b`.
    worse = ops.less(scores, target_scores)
    num_worse = ops.sum(ops.cast(worse, "int32"), axis=1) - ops.cast(worse[:, 0], "int32")
    kept = ops.shape(scores)[1] - 1 - num_worse  # with the target: 1 is best
    rival = ops.logical_and(ops.not_equal(seen, 0), ops.not_equal(seen, targets))
    worse = ops.less(ops.take_along_axis(scores, seen, axis=1), target_scores)
    seen_rivals = ops.cast(rival, "int32") - ops.cast(ops.logical_and(rival, worse), "int32")
    return kept - ops.sum(seen_rivals, axis=1), kept


def hit_rate(ranks: Tensor, k: int) -> Tensor:
    """HR@k, 1 where the target is among the first k; `[B]` float32."""
    return ops.cast(ops.less_equal(ranks, k), "float32")


def ndcg(ranks: Tensor, k: int) -> Tensor:
    """NDCG@k with one relevant item: 1 / log2(rank + 1) within the first k, else 0; `[B]` float32."""
    gain = 1.0 / ops.log2(ops.cast(ranks, "float32") + 1.0)
    return gain * hit_rate(ranks, k)


def reciprocal_rank(ranks: Tensor) -> Tensor:
    """1 / rank over the whole catalogue, whose mean is MRR; `[B]` float32."""
    return 1.0 / ops.cast(ranks, "float32")


def both_protocols(scores: Tensor, targets: Tensor, seen: Tensor) -> dict[str, Tensor]:
    """Every reported metric with seen items masked and, under the prefix `kept_`, with seen items kept.

    Arguments as in `target_ranks`; each value is `[B]` float32.
    """
    masked, kept = map(ranking_metrics, target_ranks(scores, targets, seen))
    return masked | {f"kept_{name}": value for name, value in kept.items()}


def ranking_metrics(ranks: Tensor) -> dict[str, Tensor]:
    """Every reported metric of the given ranks, by name; each `[B]` float32."""
    values = {f"hr@{k}": hit_rate(ranks, k) for k in CUTOFFS}
    values |= {f"ndcg@{k}": ndcg(ranks, k) for k in CUTOFFS}
    return values | {"mrr": reciprocal_rank(ranks)}
