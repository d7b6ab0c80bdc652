"""An oracle whose folder is right at every moment, so that a killed search goes on exactly where it was.

KerasTuner writes its files in place and notes the end of a trial in two steps. Here every file is written
whole or not at all, and each fact has one file that decides: a trial exists once `oracle.json` names it, and
is over once its own `trial.json` says so.
"""

import collections
import json
import time
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from metasgcl_tf.errors import require
from metasgcl_tf.files import write_whole
from metasgcl_tf.tuning.trials import trial_file

# A trial that takes the process with it (for lack of memory, say) would do so for ever.
MOST_STARTS = 5
OVER = (TrialStatus.COMPLETED, TrialStatus.FAILED)


class DurableOracle(keras_tuner.Oracle):
    """What every oracle of a search shares with the next process on the same folder.

    Attributes:
        starts: trial -> how often it was begun.
        ended: trial -> seconds of search when it was over.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.starts: collections.Counter = collections.Counter()
        self.ended: dict[str, float] = {}
        self._spent_before, self._begun = 0.0, time.monotonic()

    @property
    def spent(self) -> float:
        """Seconds of search, those of processes before this one included."""
        return self._spent_before + time.monotonic() - self._begun

    @property
    def state_file(self) -> Path:
        """`oracle.json`."""
        return Path(self._get_oracle_fname())

    def get_state(self) -> dict[str, Any]:
        """What `oracle.json` holds."""
        own = {"starts": dict(self.starts), "ended": self.ended, "spent": self.spent}
        return super().get_state() | own

    def set_state(self, state: dict[str, Any]) -> None:
        """Takes what `oracle.json` holds."""
        super().set_state(state)
        self.starts.update(state["starts"])
        self.ended, self._spent_before = state["ended"], state["spent"]

    def save(self) -> None:
        """Writes `oracle.json`."""
        write_whole(self.state_file, json.dumps(self.get_state()))

    def _save_trial(self, trial: Trial) -> None:
        write_whole(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", json.dumps(trial.get_state()))

    def reload(self) -> None:
        """Takes up what the folder holds; trials that were under way wait to be run again.

        Raises:
            InputError: a trial has something else than its number for a name.
        """
        state = json.loads(self.state_file.read_text(encoding="utf-8"))
        folder = self.state_file.parent
        # Written, but not named: the process was killed before it began. It is made again.
        for trial_id in state["start_order"]:
            trial = self.trials[trial_id] = Trial.load(str(trial_file(folder, trial_id)))
            require(
                trial.trial_id == trial_id, "out", f"a folder whose trial {trial_id} is so", trial.trial_id
            )
        self.set_state(state)
        self.ongoing_trials = {}
        for trial_id in self.start_order:
            trial = self.trials[trial_id]
            if trial.status not in OVER and self.starts[trial_id] >= MOST_STARTS:
                trial.status = TrialStatus.FAILED
                trial.message = f"it was begun {MOST_STARTS} times and ended the process each time"
                self._save_trial(trial)
        waiting = [trial_id for trial_id in self.start_order if self.trials[trial_id].status not in OVER]
        self._retry_queue = waiting[::-1]  # its last one comes next
        self.end_order += [t for t in self.start_order if t not in {*waiting, *self.end_order}]
        self.save()

    def begin_again(self, trial: Trial) -> None:
        """Notes a start; what an earlier one reported is void."""
        self.starts[trial.trial_id] += 1
        trial.metrics = type(trial.metrics)()
        self._save_trial(trial)
        self.save()
