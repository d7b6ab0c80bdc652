"""Who proposes what, what a failure does, and when a search is over."""

import itertools
import math

import pytest

from metasgcl_tf.errors import NonFiniteLossError
from metasgcl_tf.tuning import leases
from metasgcl_tf.tuning.oracles import build_oracle
from metasgcl_tf.tuning.runner import TrialRunner
from metasgcl_tf.tuning.trials import best_first, read_trials
from tests.tuning.conftest import SPACE


def trials_of(search, folder):
    return read_trials(folder, search.objective, list(search.space))


@pytest.mark.parametrize("tuner", ["random", "grid", "hyperband", "bayesian"])
def test_the_preset_comes_first_and_nothing_twice(
    make_search, search_made_up, made_up_trials, tmp_path, tuner
):
    search = make_search(tuner=tuner)
    lines = search_made_up(search, tmp_path, 5)
    trials = trials_of(search, tmp_path)
    assert len(trials) == 5
    flat = search.config.flat()
    assert trials[0].values == {name: flat[name] for name in search.space}
    if tuner != "hyperband":  # which goes on with the same ones
        assert len({tuple(trial.values.values()) for trial in trials}) == 5
    assert [line.split(":")[0] for line in lines] == [f"{n + 1}/5 trial_{n}" for n in range(5)]
    assert "about" in lines[0] and "left" not in lines[4]


def test_a_grid_is_every_combination(make_search, search_made_up, made_up_trials, tmp_path):
    space = {"temperature": [0.5, 1.0, 2.0], "hidden_dim": [32, 64, 128]}
    search = make_search(space, "grid")
    lines = search_made_up(search, tmp_path, 12)
    found = {tuple(trial.values.values()) for trial in trials_of(search, tmp_path)}
    assert found == set(itertools.product(*space.values()))
    assert lines[-1] == "9 of 12 trials: the space has no more combinations."


def test_bayesian_search_ends_near_the_best_point(make_search, search_made_up, made_up_trials, tmp_path):
    space = {name: SPACE[name] for name in ("temperature", "hidden_dim")}
    search_made_up(search := make_search(space, "bayesian", {"seed": 4}), tmp_path, 7)
    best = best_first(trials_of(search, tmp_path))[0]
    assert best.values["hidden_dim"] == 128
    assert best.values["temperature"] == pytest.approx(2, rel=0.2)
    assert best.score > 0.48


def test_hyperband_goes_on_with_the_better_trials(make_search, search_made_up, made_up_trials, tmp_path):
    search = make_search(tuner="hyperband", epochs=9)
    oracle = build_oracle(search, 30, {}, say=print)
    search_made_up(search, tmp_path, 14)
    runner = TrialRunner(oracle, tmp_path)
    values = [trial.hyperparameters.values for trial in runner.oracle.over()]
    rounds = [(each["tuner/initial_epoch"], each["tuner/epochs"]) for each in values]
    assert rounds[:9] == [(0, 1)] * 9 and rounds[9:12] == [(1, 3)] * 3 and rounds[12] == (3, 9)
    scores = sorted((t.score for t in runner.oracle.over()[:9]), reverse=True)
    assert sorted((t.score for t in runner.oracle.over()[9:12]), reverse=True) == scores[:3]


def failing(monkeypatch, numbers, error):
    run = TrialRunner.run_trial

    def run_trial(self, trial, *_, **__):
        if int(trial.trial_id) in numbers:
            raise error
        run(self, trial)

    monkeypatch.setattr(TrialRunner, "run_trial", run_trial)


def test_failed_trials_count_and_do_not_end_the_search(
    make_search, search_made_up, made_up_trials, monkeypatch, tmp_path
):
    failing(monkeypatch, {1, 2, 3, 4, 6}, NonFiniteLossError("`loss` became nan\nat step 3"))
    search = make_search()
    lines = search_made_up(search, tmp_path, 10)
    trials = trials_of(search, tmp_path)
    assert [trial.status == "FAILED" for trial in trials] == [n in {1, 2, 3, 4, 6} for n in range(10)]
    assert trials[1].reason == "NonFiniteLossError: `loss` became nan at step 3"
    assert "2/10 trial_01: FAILED: NonFiniteLossError: `loss` became nan at step 3;" in lines[1]
    assert best_first(trials)[-1].status == "FAILED"


def test_a_search_that_cannot_work_is_given_up(
    make_search, search_made_up, made_up_trials, monkeypatch, tmp_path
):
    failing(monkeypatch, range(9), ValueError("no"))
    lines = search_made_up(make_search(), tmp_path, 9)
    assert len(lines) == 4 and "first three trials failed" in lines[3]


def test_a_full_disk_is_no_fault_of_a_trial(
    make_search, search_made_up, made_up_trials, monkeypatch, tmp_path
):
    search = make_search()
    with monkeypatch.context() as full:
        failing(full, {1}, OSError(28, "No space left on device"))
        with pytest.raises(OSError, match="No space left"):
            search_made_up(search, tmp_path, 3)
    search_made_up(search, tmp_path, 3)
    assert [trial.status for trial in trials_of(search, tmp_path)] == ["COMPLETED"] * 3


def test_no_trial_begins_that_would_end_after_the_time(
    make_search, search_made_up, made_up_trials, monkeypatch, tmp_path
):
    clock = itertools.count(0, 1.0)
    monkeypatch.setattr("metasgcl_tf.tuning.durable.time.monotonic", lambda: next(clock))
    search = make_search()
    lines = search_made_up(search, tmp_path, 1000, max_seconds=120)
    done = len(trials_of(search, tmp_path))
    assert 1 < done < 60  # each takes two seconds and more of this clock
    assert lines[-1] == f"{done} of 1000 trials: the time is over."
    search_made_up(search, tmp_path, 1000, max_seconds=120)  # the time of both together
    assert len(trials_of(search, tmp_path)) == done
    search_made_up(search, tmp_path, 1000, max_seconds=240)
    assert len(trials_of(search, tmp_path)) > done


# ---- a chief and its workers ----------------------------------------------------------------------


class Clock:
    def __init__(self, monkeypatch):
        self.now = 1000.0
        monkeypatch.setattr(leases.time, "monotonic", lambda: self.now)


@pytest.fixture
def chief(make_search, monkeypatch, tmp_path):
    oracle = build_oracle(make_search(), 4, {}, say=lambda line: oracle.lines.append(line), lost_after=60)
    oracle.lines = []
    TrialRunner(oracle, tmp_path)
    oracle.clock = Clock(monkeypatch)
    return oracle


def finish(oracle, trial, score=0.1):
    oracle.update_trial(trial.trial_id, {"val_ndcg@10": score, "seconds": 1.0}, step=0)
    trial.status = "COMPLETED"
    oracle.end_trial(trial)


def test_the_trial_of_a_silent_worker_goes_to_another(chief):
    lost, other = chief.create_trial("a"), chief.create_trial("b")
    chief.update_trial(lost.trial_id, {"val_ndcg@10": 0.9, "seconds": 5.0}, step=0)
    for _ in range(4):
        chief.clock.now += 20
        chief.get_trial(other.trial_id)  # b is heard of
    finish(chief, other)
    again = chief.create_trial("b")
    assert again.trial_id == lost.trial_id and not again.metrics.metrics
    assert any(f"trial_{lost.trial_id}: its worker fell silent" in line for line in chief.lines)
    finish(chief, again, 0.2)
    finish(chief, lost, 0.3)  # it was only slow: too late
    assert chief.trials[lost.trial_id].score == pytest.approx(0.2)
    assert chief.end_order == [other.trial_id, lost.trial_id]
    assert chief.tuner_ids == {"b"}


def test_workers_wait_for_trials_that_may_come_back(chief):
    held = chief.create_trial("a")
    for _ in range(3):
        finish(chief, chief.create_trial("b"))
    assert chief.create_trial("b").status == "IDLE" and len(chief.trials) == 4
    chief.clock.now += 61
    assert chief.create_trial("b").trial_id == held.trial_id
    finish(chief, chief.trials[held.trial_id])
    assert chief.create_trial("b").status == "STOPPED"
    assert chief.finished() and not chief.tuner_ids and len(chief.end_order) == 4


def test_a_worker_that_comes_back_under_its_name_gets_its_trial(chief):
    trial = chief.create_trial("a")
    assert chief.create_trial("a").trial_id == trial.trial_id


def test_trials_under_way_are_guessed_not_asked_of_an_unfitted_process(make_search, tmp_path):
    oracle = build_oracle(make_search(tuner="bayesian"), 12, {}, say=print)
    TrialRunner(oracle, tmp_path)
    for score in (0.1, 0.2, 0.3, math.nan):
        trial = oracle.create_trial("a")
        if math.isnan(score):
            trial.status = "FAILED"
            oracle.end_trial(trial)
        else:
            finish(oracle, trial, score)
    oracle.create_trial("b")
    points, targets = oracle._vectorize_trials()
    assert points.shape == (5, 3)
    assert targets == pytest.approx([-0.1, -0.2, -0.3, -0.1, -0.2])
