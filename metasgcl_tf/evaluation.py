"""Full-ranking evaluation: every held-out item ranked among all items, both protocols in one pass."""

from collections.abc import Callable
from typing import Any

import numpy as np
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

Report = dict[str, dict[str, float]]


def evaluate(model: SequentialRecommender, split: Split, part: Part) -> Report:
    """Evaluates a compiled model on the validation or test items.

    Returns:
        `{"masked": {...}, "kept": {...}}`, each with `hr@5` ... `mrr`: seen items masked and kept.
    """
    batches = pipelines.ranking(split, part, max_length=model.max_length)
    values = model.evaluate(batches, verbose=0, return_dict=True)
    return _by_protocol(values)


def evaluate_scores(
    score_histories: Callable[[list[np.ndarray]], np.ndarray], split: Split, part: Part
) -> Report:
    """Evaluates anything that scores whole histories, by the same rules as `evaluate`.

    Args:
        score_histories: B histories, `[n]` int item indices each, to scores `[B, V]`.
        split: the log and its parts.
        part: `"valid"` or `"test"`.
    """
    longest = int(np.diff(split.log.offsets).max())
    means: dict[str, float] = {}
    for inputs, targets in pipelines.ranking(split, part, max_length=longest):
        histories = [row[row > 0] for row in inputs["item_ids"].numpy()]
        scores = np.pad(score_histories(histories), [(0, 0), (1, 0)], constant_values=-np.inf)
        ranks = metrics.target_ranks(ops.convert_to_tensor(scores), targets, inputs["seen"])
        for name, values in metrics.both_protocols(*ranks).items():
            means[name] = means.get(name, 0.0) + float(ops.sum(values)) / len(split.evaluated)
    return _by_protocol(means)


def _by_protocol(values: dict[str, float]) -> Report:
    masked = {name: value for name, value in values.items() if not name.startswith("kept_")}
    return {"masked": masked, "kept": {name: values[f"kept_{name}"] for name in masked}}


def best_possible(split: Split, part: Part) -> Report:
    """How well the synthetic log can be ranked at all: by the exact probabilities of its generator."""
    items = split.log.items.to_list()

    def score_histories(histories: list[np.ndarray]) -> np.ndarray:
        raw: list[list[Any]] = [split.log.raw_items(history) for history in histories]
        return synthetic.best_scores(raw, items)

    return evaluate_scores(score_histories, split, part)
