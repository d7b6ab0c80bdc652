"""What a chief knows of its workers: who is alive, and whose trial another one has to run again.

A worker asks for its trial every few seconds (KerasTuner's own call), which is how the chief hears from it.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from keras_tuner import synchronized
from keras_tuner.engine.trial import Trial

from metasgcl_tf.tuning.durable import DurableOracle

LOST_AFTER = 120.0
CALLS_BEFORE_LOST = 6


class LeasingOracle(DurableOracle):
    """Takes the trial of a worker that fell silent back, once another worker asks for one.

    Args:
        lost_after: seconds of silence.
        **kwargs: of the oracle.
    """

    def __init__(self, lost_after: float = LOST_AFTER, **kwargs: Any) -> None:
        self.lost_after = lost_after
        self._heard: dict[str, float] = {}
        super().__init__(**kwargs)

    @property
    def tuner_ids(self) -> set[str]:
        """Workers that are there; a chief ends once nobody is."""
        known = self._workers
        for worker in [w for w in known if self._silent(w)]:
            known.remove(worker)
        return known

    @tuner_ids.setter
    def tuner_ids(self, workers: set[str]) -> None:
        self._workers = workers

    def hear(self, worker: str) -> None:
        """Notes that a worker is alive."""
        self._heard[worker] = time.monotonic()

    def _silent(self, worker: str) -> bool:
        return time.monotonic() - self._heard.get(worker, -self.lost_after) > self.lost_after

    def take_back_lost(self) -> list[str]:
        """Has the trials of silent workers wait for others; returns which."""
        lost = {worker: trial for worker, trial in self.ongoing_trials.items() if self._silent(worker)}
        for worker, trial in lost.items():
            del self.ongoing_trials[worker]
            self._retry_queue.append(trial.trial_id)
        return [trial.trial_id for trial in lost.values()]

    @synchronized
    def get_trial(self, trial_id: str) -> Trial:
        """A trial; whoever runs it asks for it now and then to be heard of."""
        for worker, trial in self.ongoing_trials.items():
            if trial.trial_id == trial_id:
                self.hear(worker)
        return super().get_trial(trial_id)


@contextmanager
def heard_of(oracle: Any, trial_id: str, every: float) -> Iterator[None]:
    """Lets a chief know every few seconds that a trial is being run."""
    over = threading.Event()

    def call() -> None:
        while not over.wait(every):
            try:
                oracle.get_trial(trial_id)
            except (
                Exception
            ):  # the chief is away for a while; the trial goes on, and its end will wait for it
                continue

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
