"""A grid over the space."""

import math
import random
from typing import Any

from keras_tuner.engine.trial import TrialStatus

from metasgcl_tf.tuning.search_oracle import SearchOracle

RANGE_POINTS = 5  # of a range without steps


class GridOracle(SearchOracle):
    """Every combination, the preset first; where there are more than trials, a random choice of them.

    KerasTuner's own does not survive its process.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The first combination that was not tried."""
        if not self.trials:
            return {"status": TrialStatus.RUNNING, "values": self._random_values()}
        axes = [grid_values(hp) for hp in self.hyperparameters.space]
        size, draw = math.prod(map(len, axes)), random.Random(f"{self.seed} {len(self.trials)}")
        drawn = iter(lambda: draw.randrange(size), None)
        for place in range(size) if size <= self.max_trials else drawn:
            values = {}
            for hp, axis in zip(self.hyperparameters.space, axes, strict=True):
                place, index = divmod(place, len(axis))
                values[hp.name] = axis[index]
            if not self._duplicate(values):
                return {"status": TrialStatus.RUNNING, "values": values}
        return {"status": TrialStatus.STOPPED}


def grid_values(hp: Any) -> list[Any]:
    """The values of a hyperparameter on a grid: all of a list, few of a range; always the default."""
    if isinstance(hp.default, str) or not hasattr(hp, "min_value"):
        return list(hp.values)
    if hp.step not in (None, 1):
        return sorted({*hp.values, hp.default})
    middles = [(point + 0.5) / RANGE_POINTS for point in range(RANGE_POINTS)]
    return sorted({hp.default, *map(hp.prob_to_value, middles)})
