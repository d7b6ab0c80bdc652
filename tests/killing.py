"""Trainings that end without a word, within this process or in one of their own, and what they leave."""

import itertools
import os
import subprocess

import numpy as np

from metasgcl_tf import checkpoints
from metasgcl_tf.checkpoint_callbacks import KeepCheckpoints
from metasgcl_tf.run_folder import load_run


class Killed(BaseException):
    """Stands for kill -9: nothing of the package runs after it."""


def kill_after(step, monkeypatch):
    """Has training end without a word after a step, right before the next."""
    begun = itertools.count()

    def on_train_batch_begin(self, batch, logs=None):
        if next(begun) == step:
            raise Killed

    monkeypatch.setattr(KeepCheckpoints, "on_train_batch_begin", on_train_batch_begin, raising=False)


def start_process(command, log, **more):
    """A process of the package that prints to the end of a file."""
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    streams = {"stdout": log.open("a"), "stderr": subprocess.STDOUT}
    return subprocess.Popen(command, env=environment, **streams, **more)


def assert_same_end(one, other):
    """The last steps of two runs, whose checkpoints are still there, left the same weights and optimizers.

    `model.keras` does not tell: it is the best epoch, which can lie before a kill.
    """
    model = load_run(one).model
    compared = len(model.variables) + len(model.optimizer.variables)
    ends = [checkpoints.newest(run / checkpoints.FOLDER) for run in (one, other)]
    assert ends[0].notes["step"] == ends[1].notes["step"]
    for first, second in zip(*(end.arrays[:compared] for end in ends), strict=True):
        np.testing.assert_array_equal(first, second)
