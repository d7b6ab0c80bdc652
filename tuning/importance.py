"""How much each searched setting matters, by what a random forest makes of the trials."""

import dataclasses
from typing import Any

import numpy as np

from metasgcl_tf.tuning.trials import TrialResult

FEWEST = 8  # trials below which nothing is said


@dataclasses.dataclass(frozen=True)
class Importance:
    """What a forest says.

    Attributes:
        shares: setting -> its share, largest first; they sum to 1.
        explained: share of the variance of scores that the forest predicts for trials it has not seen (out of
            bag); near 0 or below, the shares mean little.
    """

    shares: dict[str, float]
    explained: float


def importance(trials: list[TrialResult], space: dict[str, Any]) -> Importance | None:
    """By how much a forest's prediction suffers when one setting is shuffled, as shares of the whole.

    Breiman 2001, "Random forests", section 10. Trials that failed say nothing.

    Returns:
        None with too few trials, or where nothing matters.
    """
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance

    done = [trial for trial in trials if trial.score is not None]
    if len(done) < FEWEST:
        return None
    points = np.array([[position(space[name], trial.values[name]) for name in space] for trial in done])
    scores = np.array([trial.score for trial in done])
    forest = RandomForestRegressor(300, oob_score=True, min_samples_leaf=2, random_state=1, n_jobs=1)
    forest.fit(points, scores)
    suffers = permutation_importance(forest, points, scores, n_repeats=20, random_state=1, n_jobs=1)
    found = np.maximum(suffers.importances_mean, 0.0)
    if not found.sum() > 0:
        return None
    shares = dict(zip(space, (found / found.sum()).tolist(), strict=True))
    in_order = sorted(shares, key=shares.__getitem__, reverse=True)
    return Importance({name: shares[name] for name in in_order}, float(forest.oob_score_))


def position(given: Any, value: Any) -> float:
    """Where a value lies in its range, on its scale; of a list, its place."""
    if isinstance(given, list):
        return float(given.index(value))
    return float(np.log(value)) if given.get("scale") == "log" else float(value)
