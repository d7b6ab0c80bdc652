"""A search over made-up trials, which need no training."""

import math

import pytest

from metasgcl_tf.config import build_config
from metasgcl_tf.tuning import searching
from metasgcl_tf.tuning.runner import TrialRunner
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.spaces import build_space, log_range

SPACE = {
    "temperature": log_range(0.1, 10.0),
    "hidden_dim": [32, 64, 128],
    "dropout": {"min": 0.0, "max": 0.5},
}


def made_up_score(values):
    """Best at temperature 2 and hidden_dim 128, where it is .5; dropout does nothing."""
    return 0.5 - 0.1 * abs(math.log(values["temperature"] / 2)) - 0.05 * (values["hidden_dim"] != 128)


@pytest.fixture
def made_up_trials(monkeypatch):
    """Trials report two epochs, the second one better, at once; returns the numbers of those that ran."""
    ran = []

    def run_trial(self, trial, *_, **__):
        ran.append(int(trial.trial_id))
        score = made_up_score(trial.hyperparameters.values)
        for epoch, share in enumerate((0.5, 1.0)):
            metrics = {"val_ndcg@10": score * share, "seconds": epoch + 1.0}
            self.oracle.update_trial(trial.trial_id, metrics, step=epoch)

    monkeypatch.setattr(TrialRunner, "run_trial", run_trial)
    return ran


@pytest.fixture(scope="session")
def make_search():
    """Builds a checked search over `SPACE`, or another one."""

    def make(space=None, tuner="random", settings=None, **options):
        config = build_config({"epochs": 9, "seed": 3} | (settings or {}))
        space = SPACE if space is None else space
        return Search(
            config, build_space(config) if space == "built in" else space, tuner, **options
        ).checked()

    return make


@pytest.fixture(scope="session")
def search_made_up(make_split):
    """Runs the trials of a search into a folder, as `tune` does; returns the lines it printed."""
    from rich.console import Console

    split = make_split([[1, 2, 3, 4]] * 3)

    def run(search, folder, trials, max_seconds=None):
        console = Console(record=True, width=300, quiet=False, file=open("/dev/null", "w"))  # noqa: SIM115, PTH123
        searching.run_trials(search, split, folder, trials, console, max_seconds=max_seconds, lost_after=60)
        return console.export_text().splitlines()

    return run
