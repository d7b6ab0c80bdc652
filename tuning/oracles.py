"""Who proposes trials: KerasTuner's oracles, the preset first, a time limit, a line for each trial."""

import json
import math
import random
import statistics
import warnings
from collections.abc import Callable
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner import synchronized
from keras_tuner.engine.hyperparameters import Fixed
from keras_tuner.engine.trial import Trial, TrialStatus

from metasgcl_tf.tuning.leases import LeasingOracle
from metasgcl_tf.tuning.lines import seconds, trial_line
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.spaces import declare

TOLD = "search"  # the hyperparameter that holds the search itself
RANGE_POINTS = 5  # of a range without steps, on a grid
Values = dict[str, Any]


class SearchOracle(LeasingOracle):
    """What `metasgcl tune` asks of every oracle.

    Args:
        say: gets a line after each trial.
        max_trials: how many trials there are, failed ones included.
        max_seconds: no trial begins that would end later, at the pace so far.
        **kwargs: of the oracle.
    """

    def __init__(
        self, say: Callable[[str], None], max_trials: int, max_seconds: float | None = None, **kwargs: Any
    ) -> None:
        # A trial that fails does not end the search, and nothing may join the space.
        rules = {"allow_new_entries": False, "max_consecutive_failed_trials": math.inf}
        super().__init__(**rules, **kwargs)
        self.say, self.max_trials, self.max_seconds = say, max_trials, max_seconds
        self.verbose = 0  # `say` says it

    def _random_values(self) -> Values | None:
        """The preset first."""
        if not self.trials:
            return {hp.name: hp.default for hp in self.hyperparameters.space}
        return super()._random_values()

    def searched(self) -> list[Any]:
        """The hyperparameters that vary."""
        return [hp for hp in self.hyperparameters.space if not isinstance(hp, Fixed)]

    def over(self) -> list[Trial]:
        """Finished and failed trials, in the order they ended."""
        return [self.trials[trial_id] for trial_id in self.end_order]

    def hopeless(self) -> bool:
        """Whether the first three trials, the preset among them, all failed: the next would too."""
        return len(self.end_order) >= 3 and all(trial.status == TrialStatus.FAILED for trial in self.over())

    def seconds_a_trial(self) -> float:
        """The mean of those that finished."""
        took = [seconds(trial) for trial in self.over() if trial.status == TrialStatus.COMPLETED]
        return statistics.fmean(took) if took else 0.0

    def seconds_left(self) -> float:
        """Until the search is over, at the pace so far."""
        workers = max(1, len(self.tuner_ids))
        left = math.ceil((self.max_trials - len(self.end_order)) / workers) * self.seconds_a_trial()
        return left if self.max_seconds is None else max(0.0, min(left, self.max_seconds - self.spent))

    def no_more(self) -> bool:
        """Whether no new trial begins."""
        late = self.max_seconds is not None and self.spent + self.seconds_a_trial() > self.max_seconds
        return len(self.trials) >= self.max_trials or (late and bool(self.end_order)) or self.hopeless()

    def finished(self) -> bool:
        """Whether there is nothing left to run."""
        return self.no_more() and len(self.end_order) == len(self.trials)

    @synchronized
    def create_trial(self, tuner_id: str) -> Trial:
        """A trial to run, `IDLE` while one that others run may yet come back, `STOPPED` when all are over."""
        self.hear(tuner_id)
        for trial_id in self.take_back_lost():
            self.say(f"trial_{trial_id}: its worker fell silent, so it will be run again")
        wanted = self.max_trials
        try:
            if self.no_more():
                self.max_trials = max(1, len(self.trials))
            trial = super().create_trial(tuner_id)
        finally:
            self.max_trials = wanted
        if trial.status == TrialStatus.STOPPED and self.ongoing_trials:
            trial.status = TrialStatus.IDLE
            self.tuner_ids.add(tuner_id)
        if trial.status == TrialStatus.RUNNING:
            self.begin_again(trial)
        return trial

    @synchronized
    def end_trial(self, trial: Trial) -> None:
        """Notes the end of a trial; that of one that two workers ran, once."""
        trial_id = trial.trial_id
        if trial_id in self.end_order:
            return
        if trial_id in self._retry_queue:  # its worker outlived a chief
            self._retry_queue.remove(trial_id)
        self.ended[trial_id] = self.spent
        super().end_trial(trial)
        self.save()  # once more, because the trial was still under way in the first
        self.say(trial_line(self, self.trials[trial_id]))


class RandomOracle(SearchOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random points, after the preset."""


class HyperbandOracle(SearchOracle, keras_tuner.oracles.HyperbandOracle):
    """Many short trials, of which the better ones go on, after the preset."""


class BayesianOracle(SearchOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Where a Gaussian process expects the most, after the preset and some random points.

    What comes next depends on the trials so far alone, not on what the process did before.
    """

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The values of the next trial."""
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        self.gpr = self._make_gpr()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the fit, which is as good as it gets
            response = super().populate_space(trial_id)
        if response["values"] and self._duplicate(response["values"]):
            return self._random_populate_space()  # a point that is known already would say little
        return response

    def _vectorize_trials(self) -> tuple[np.ndarray, np.ndarray]:
        """Points `[N, D]` and what to minimise `[N]`.

        A failed trial counts as the worst and one under way as the mean of those that finished; KerasTuner
        leaves the first out, so that it would try there again, and asks a process that may not be fitted yet
        for the second.
        """
        sign = -1 if self.objective.direction == "max" else 1
        trials = [self.trials[trial_id] for trial_id in self.start_order]
        scores = {t.trial_id: sign * t.score for t in trials if t.status == TrialStatus.COMPLETED}
        worst, mean = max(scores.values()), statistics.fmean(scores.values())
        points = [
            [hp.value_to_prob(trial.hyperparameters.values[hp.name]) for hp in self._nonfixed_space()]
            for trial in trials
        ]
        guesses = [worst if trial.status == TrialStatus.FAILED else mean for trial in trials]
        found = [scores.get(trial.trial_id, guess) for trial, guess in zip(trials, guesses, strict=True)]
        return np.array(points), np.array(found)


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


def build_oracle(search: Search, trials: int, counts: dict[str, int], **options: Any) -> SearchOracle:
    """The oracle of a search.

    Args:
        search: checked; workers are told of it by a hyperparameter that never varies, since KerasTuner's
            service carries nothing else.
        trials: how many there are.
        counts: of the log, by which a worker knows that it has the same.
        **options: of `SearchOracle` and `LeasingOracle`.
    """
    space = keras_tuner.HyperParameters()
    declare(search.space, search.config, space)
    space.Fixed(TOLD, json.dumps(search.as_dict() | {"counts": counts}))
    options |= {
        "objective": keras_tuner.Objective(search.objective, "max"),
        "hyperparameters": space,
        "seed": search.config.training.seed % 2**31 + 1,  # 0 would stand for any
        "max_trials": trials,
    }
    if search.tuner == "bayesian":
        few = max(len(search.space) + 1, trials // 3)
        return BayesianOracle(num_initial_points=min(few, 3 * len(search.space)), **options)
    if search.tuner == "hyperband":
        epochs = search.epochs or search.config.training.epochs
        return HyperbandOracle(max_epochs=epochs, hyperband_iterations=trials, **options)
    return {"random": RandomOracle, "grid": GridOracle}[search.tuner](**options)
