"""Keras callbacks that keep what a killed training would lose: the best model, and where training is."""

import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
from keras import ops

from metasgcl_tf import checkpoints
from metasgcl_tf.callbacks import EpochLines, StopOnNonFinite, WarnOnPosteriorCollapse
from metasgcl_tf.files import save_whole, write_whole
from metasgcl_tf.interruption import InterruptedTraining, StopRequest
from metasgcl_tf.run_folder import HISTORY


class KeepBest(keras.callbacks.Callback):
    """Keeps the model of the epoch with the best validation NDCG@10, whole whenever the process is killed.

    Args:
        path: the model's file.
        start: the value that the first epoch to be kept must exceed.
    """

    def __init__(self, path: Path, start: float) -> None:
        super().__init__()
        self.path, self.best = path, start

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Saves the model if it is the best so far."""
        value = float((logs or {})["val_ndcg@10"])
        if value > self.best:
            self.best = value
            save_whole(self.model, self.path)


# What callbacks count, and so what a checkpoint holds of them.
COUNTERS: dict[type, tuple[str, ...]] = {
    keras.callbacks.EarlyStopping: ("wait", "best", "best_epoch", "stopped_epoch"),
    EpochLines: ("best",),
    KeepBest: ("best",),
    StopOnNonFinite: ("steps",),
    WarnOnPosteriorCollapse: ("warned",),
}


class KeepCheckpoints(keras.callbacks.Callback):
    """Writes a checkpoint after every epoch and every so many steps, and goes on from the newest.

    It is the last of the callbacks, so that what it writes is what they have all seen. A checkpoint that
    cannot be written (for the disk is full) costs a warning, not the training.

    Args:
        run: the run folder.
        every: steps from one checkpoint to the next within an epoch.
        request: looked at after each step; a checkpoint is written before the training stops.
        started: by `time.perf_counter`, when this process began the training.
    """

    def __init__(self, run: Path, every: int, request: StopRequest, started: float) -> None:
        super().__init__()
        self.run, self.every, self.request = run, every, request
        self.folder, self.history = run / checkpoints.FOLDER, run / HISTORY
        self.watched: Sequence[keras.callbacks.Callback] = ()
        self.epoch = self.batch = self.step = 0
        self.seconds_before, self.started = 0.0, started
        self.found: checkpoints.Checkpoint | None = None
        self.means: list[Any] | None = None

    @property
    def seconds(self) -> float:
        """Of training, in this process and those before."""
        return self.seconds_before + time.perf_counter() - self.started

    def take_up(self, model: keras.Model, watched: Sequence[keras.callbacks.Callback]) -> bool:
        """Brings a compiled model to where the newest checkpoint was, if there is one.

        Sets `epoch` and `batch`, with which training goes on.

        Args:
            model: of the configuration of the run.
            watched: the callbacks whose counters count.

        Returns:
            Whether the training was over then.
        """
        self.watched, self.found = watched, checkpoints.newest(self.folder)
        if self.found is None:
            self.history.unlink(missing_ok=True)
            return False
        checkpoints.restore(model, self.found.arrays)
        notes = self.found.notes
        write_whole(self.history, notes["history"])
        self.epoch, self.batch, self.step = notes["epoch"], notes["batch"], notes["step"]
        self.seconds_before = notes["seconds"]
        if self.batch:  # Keras sets the running means to 0 when an epoch begins
            self.means = [ops.convert_to_numpy(mean) for mean in model.metrics_variables]
        return notes["over"]

    def parts(self, epochs: int) -> list[tuple[int, int, int]]:
        """What is left of a training, as calls of `fit`: first epoch, batches to leave out, last epoch + 1.

        Keras takes each epoch of a data set to be as long as the first, so the rest of one is a call apart.
        """
        if not self.batch:
            return [(self.epoch, 0, epochs)]
        return [(self.epoch, self.batch, self.epoch + 1), (self.epoch + 1, 0, epochs)]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Gives the callbacks their counters back, which some set to 0 when training begins."""
        if self.found is not None:
            for callback, names in self._counting():
                values = self.found.notes["counters"][type(callback).__name__]
                for name, value in zip(names, values, strict=True):
                    setattr(callback, name, value)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Gives an epoch that was under way its running means back."""
        if self.means is not None:
            for variable, mean in zip(self.model.metrics_variables, self.means, strict=True):
                variable.assign(mean)
            self.means = None

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint now and then, and when the training is to stop; the epoch's end has its own."""
        self.batch += 1
        self.step += 1
        if batch + 1 == self.params["steps"]:
            return
        if self.request.signal is not None or self.step % self.every == 0:
            self._keep(over=False)
        self._stop_if_asked()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes a checkpoint."""
        self.epoch, self.batch = epoch + 1, 0
        self._keep(over=self.model.stop_training)
        self._stop_if_asked()

    def _counting(self) -> list[tuple[keras.callbacks.Callback, tuple[str, ...]]]:
        return [(each, COUNTERS[type(each)]) for each in self.watched if type(each) in COUNTERS]

    def _keep(self, over: bool) -> None:
        notes = {
            "epoch": self.epoch,
            "batch": self.batch,
            "step": self.step,
            "seconds": self.seconds,
            "over": over,
            "history": self.history.read_text(encoding="utf-8") if self.history.exists() else "",
            "counters": {
                type(callback).__name__: [getattr(callback, name) for name in names]
                for callback, names in self._counting()
            },
        }
        self.found = checkpoints.Checkpoint([], notes)
        try:
            checkpoints.save(self.folder, self.step, self.model, notes)
        except OSError as error:
            warnings.warn(
                f"No checkpoint of step {self.step} in {self.folder} ({error.strerror or error}); the "
                "training goes on.",
                stacklevel=2,
            )

    def _stop_if_asked(self) -> None:
        if self.request.signal is not None:
            raise InterruptedTraining(
                f"interrupted after step {self.step}; `metasgcl train --resume {self.run}` goes on",
                self.request.signal,
            )
