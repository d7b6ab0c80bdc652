"""A search that is killed goes on exactly where it was, wherever that is."""

import json

import pytest

from metasgcl_tf.tuning import durable
from metasgcl_tf.tuning.trials import read_trials
from tests.killing import Killed

TRIALS = 5
SMALL = {"temperature": {"min": 0.5, "max": 4.0, "scale": "log"}, "hidden_dim": [32, 64, 128]}


class Killer:
    """Ends the process at one of the writes, before or after the file is there."""

    def __init__(self, monkeypatch):
        self.write, self.writes, self.at, self.before = durable.write_whole, 0, None, True
        monkeypatch.setattr(durable, "write_whole", self)

    def __call__(self, path, text):
        self.writes += 1
        if self.writes == self.at and self.before:
            path.with_name(f"{path.name}.part").write_text(text[: len(text) // 2])
            raise Killed
        self.write(path, text)
        if self.writes == self.at:
            raise Killed


@pytest.fixture
def killer(monkeypatch):
    return Killer(monkeypatch)


def outcome(search, folder):
    """What a search found, but for the clock."""
    trials = read_trials(folder, search.objective, list(search.space))
    return [(t.name, t.values, t.status, t.score, t.history, t.best_epoch) for t in trials]


# Tuner, and every which write it is killed at; a trial writes ten times. Bayesian proposals take long.
DEARER = [("bayesian", 11), ("grid", 1), ("hyperband", 1), ("random", 1)]
KILLS = [("random", 3), *(pytest.param(*each, marks=pytest.mark.slow) for each in DEARER)]


@pytest.mark.parametrize(("tuner", "every"), KILLS)
def test_wherever_it_is_killed_the_search_ends_the_same(
    make_search, search_made_up, made_up_trials, killer, tmp_path, tuner, every
):
    search = make_search(SMALL, tuner, epochs=3)  # Hyperband's fourth goes on with one of three
    search_made_up(search, tmp_path / "whole", TRIALS)
    whole, writes = outcome(search, tmp_path / "whole"), killer.writes
    assert len(whole) == TRIALS and all(trial[2] == "COMPLETED" for trial in whole)
    assert writes > 8 * TRIALS
    for at in range(1, writes + 1, every):
        for before in (True, False):
            folder = tmp_path / f"{at}-{before}"
            killer.writes, killer.at, killer.before = 0, at, before
            with pytest.raises(Killed):
                search_made_up(search, folder, TRIALS)
            killer.at = None
            search_made_up(search, folder, TRIALS)
            assert outcome(search, folder) == whole, (at, before)
            state = json.loads((folder / "trials" / "oracle.json").read_text())
            assert sorted(state["end_order"]) == sorted(state["start_order"])


def test_killed_again_and_again(make_search, search_made_up, made_up_trials, killer, tmp_path):
    search = make_search(SMALL)
    search_made_up(search, tmp_path / "whole", TRIALS)
    kills = 0
    for at in (3, 17, 9, 10, 30):
        killer.writes, killer.at, killer.before = 0, at, kills % 2 == 0
        try:
            search_made_up(search, tmp_path / "often", TRIALS)
        except Killed:
            kills += 1
    killer.at = None
    search_made_up(search, tmp_path / "often", TRIALS)
    assert kills >= 4
    assert outcome(search, tmp_path / "often") == outcome(search, tmp_path / "whole")


def test_finished_trials_are_not_run_again(make_search, search_made_up, made_up_trials, tmp_path):
    search = make_search(SMALL)
    search_made_up(search, tmp_path, 3)
    assert made_up_trials == [0, 1, 2]
    assert search_made_up(search, tmp_path, 3) == ["3 of 3 trials were over before."]
    search_made_up(search, tmp_path, 5)  # more of them
    assert made_up_trials == [0, 1, 2, 3, 4]


def test_a_trial_that_ends_the_process_again_and_again_fails(
    make_search, search_made_up, made_up_trials, monkeypatch, tmp_path
):
    from metasgcl_tf.tuning.runner import TrialRunner

    search, run = make_search(SMALL), TrialRunner.run_trial

    def too_large(self, trial, *_, **__):
        if trial.trial_id == "1":
            raise Killed  # as the system's memory killer would
        run(self, trial)

    monkeypatch.setattr(TrialRunner, "run_trial", too_large)
    for _ in range(durable.MOST_STARTS):
        with pytest.raises(Killed):
            search_made_up(search, tmp_path, 4)
    search_made_up(search, tmp_path, 4)
    trials = read_trials(tmp_path, search.objective, list(search.space))
    assert [trial.status for trial in trials] == ["COMPLETED", "FAILED", "COMPLETED", "COMPLETED"]
    assert "ended the process" in trials[1].reason
