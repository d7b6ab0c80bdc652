"""What every oracle of a search shares: the preset first, a time limit, a line for each trial."""

import math
import statistics
from collections.abc import Callable
from typing import Any

from keras_tuner import synchronized
from keras_tuner.engine.hyperparameters import Fixed
from keras_tuner.engine.trial import Trial, TrialStatus

from metasgcl_tf.tuning.leases import LeasingOracle
from metasgcl_tf.tuning.lines import seconds, trial_line

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
