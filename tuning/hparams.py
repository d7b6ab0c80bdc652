"""The trials for TensorBoard's HParams page: values, the score, and the score of every epoch."""

import shutil
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api

from metasgcl_tf.tuning.trials import TrialResult


def write_hparams(search: dict[str, Any], trials: list[TrialResult], folder: Path) -> None:
    """Writes the folder anew.

    Args:
        search: `search.json`.
        trials: those of the search; unfinished ones are left out.
        folder: for `tensorboard --logdir`.
    """
    objective = search["objective"]
    shutil.rmtree(folder, ignore_errors=True)
    with writing(folder):
        api.hparams_config(
            hparams=[api.HParam(name, domain(given)) for name, given in search["space"].items()],
            metrics=[api.Metric("score", display_name=f"best {objective}"), api.Metric(objective)],
        )
    for trial in trials:
        if trial.score is None:
            continue
        with writing(folder / trial.name):
            api.hparams(trial.values, trial_id=trial.name)
            tf.summary.scalar("score", trial.score, step=0)
            first = trial.best_epoch - 1 - trial.history.index(max(trial.history))
            for epoch, value in enumerate(trial.history, start=first):
                tf.summary.scalar(objective, value, step=epoch)


def writing(folder: Path) -> Any:
    """A context in which summaries go to a folder."""
    return tf.summary.create_file_writer(str(folder)).as_default()


def domain(given: Any) -> Any:
    """A range or a list as TensorBoard has it."""
    if isinstance(given, list):
        return api.Discrete(given)
    interval = api.IntInterval if isinstance(given["min"], int) else api.RealInterval
    return interval(given["min"], given["max"])
