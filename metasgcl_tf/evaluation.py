"""Full-ranking evaluation: every held-out item ranked among all items, both protocols in one pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
from keras import ops

from metasgcl_tf import metrics
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Part, Split
from metasgcl_tf.datasets import synthetic
from metasgcl_tf.models import SequentialRecommender

PROTOCOL = (
    "leave-one-out: last item test, the one before validation; rank among all items, no sampled negatives; "
    "ties count against the target; masked = items seen by the user are no candidates, kept = they are"
)

Tensor = Any
Report = dict[str, dict[str, float]]


def evaluate(model: SequentialRecommender, split: Split, part: Part) -> Report:
    """Evaluates a model on the validation or test items.

    Returns:
        `{"masked": {...}, "kept": {...}}`, each with `hr@5` ... `mrr`: seen items masked and kept.
    """
    return report_of(held_out_ranks(model, split, part))


def held_out_ranks(model: SequentialRecommender, split: Split, part: Part) -> pl.DataFrame:
    """Rank of each user's held-out item among all items.

    Returns:
        A table in the order of the log's users: `user` (raw id), `masked` and `kept` (int32, 1 is best).
    """

    def rank(inputs: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        return ranks_of_batch(
            {name: np.asarray(values) for name, values in inputs.items()}, np.asarray(targets)
        )

    ranks_of_batch = model.ranks_of_batch
    return _ranks(rank, split, part, model.max_length)


def _ranks(rank: Callable, split: Split, part: Part, max_length: int) -> pl.DataFrame:
    """Calls `rank(inputs, targets) -> (masked, kept)` with every batch of `pipelines.ranking`."""
    parts: dict[str, list[np.ndarray]] = {"row": [], "masked": [], "kept": []}
    for inputs, targets in pipelines.ranking(split, part, max_length=max_length):
        found = (inputs["user_index"], *rank(inputs, targets))
        for values, value in zip(parts.values(), found, strict=True):
            values.append(np.asarray(value))
    ranks = pl.DataFrame({name: np.concatenate(values) for name, values in parts.items()}).sort("row")
    return ranks.select(split.log.users.gather(ranks["row"]).alias("user"), "masked", "kept")


def report_of(ranks: pl.DataFrame) -> Report:
    """The metrics of `held_out_ranks`, means over users."""
    return {
        protocol: {
            name: float(np.mean(np.asarray(values), dtype=np.float64))
            for name, values in metrics.ranking_metrics(ranks[protocol].to_numpy()).items()
        }
        for protocol in ("masked", "kept")
    }


def evaluate_scores(
    score_histories: Callable[[list[np.ndarray]], np.ndarray], split: Split, part: Part
) -> Report:
    """Evaluates anything that scores whole histories, by the same rules as `evaluate`.

    Args:
        score_histories: B histories, `[n]` int item indices each, to scores `[B, V]`.
        split: the log and its parts.
        part: `"valid"` or `"test"`.
    """

    def rank(inputs: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        histories = [row[row > 0] for row in inputs["item_ids"].numpy()]
        scores = np.pad(score_histories(histories), [(0, 0), (1, 0)], constant_values=-np.inf)
        return metrics.target_ranks(ops.convert_to_tensor(scores), targets, inputs["seen"])

    return report_of(_ranks(rank, split, part, int(np.diff(split.log.offsets).max())))


def best_possible(split: Split, part: Part) -> Report:
    """How well the synthetic log can be ranked at all: by the exact probabilities of its generator."""
    items = split.log.items.to_list()

    def score_histories(histories: list[np.ndarray]) -> np.ndarray:
        raw: list[list[Any]] = [split.log.raw_items(history) for history in histories]
        return synthetic.best_scores(raw, items)

    return evaluate_scores(score_histories, split, part)
