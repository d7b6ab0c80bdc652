"""Bayesian optimization, the same in whichever process it goes on."""

import statistics
import warnings
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine.trial import TrialStatus

from metasgcl_tf.tuning.search_oracle import SearchOracle


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
