"""Real processes: a search that is killed at random, and a chief with workers of which one is killed."""

import json
import os
import random
import signal
import socket
import sys
import time

import pytest

from metasgcl_tf.tuning.trials import read_trials
from tests.killing import start_process

pytestmark = pytest.mark.slow

SEARCHED = ["temperature", "hidden_dim"]
MODEL = ["--model", "meta_sgcl", "--max-length", "8", "--over", ",".join(SEARCHED), "--tuner", "random"]
SMALL = ["--set", "num_layers=1", "hidden_dim=32", "batch_size=16", "epochs=2", "--epochs", "2"]


def start(*arguments, log):
    return start_process([sys.executable, "-m", "metasgcl_tf.cli", "tune", *map(str, arguments)], log)


def trials(folder):
    return read_trials(folder, "val_ndcg@10", SEARCHED)


def outcome(folder):
    return [(t.name, t.values, t.status, t.score, t.history) for t in trials(folder)]


def wait_for(condition, seconds=240):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited for too long"
        time.sleep(0.1)


def test_three_kills_at_random_moments_lose_nothing_and_count_nothing_twice(cyclic_log, tmp_path):
    arguments = ["--data", cyclic_log, *MODEL, *SMALL, "--trials", 6, "--out"]
    assert start(*arguments, tmp_path / "whole", log=tmp_path / "whole.log").wait(900) == 0
    moment = random.Random(os.getpid())
    for kill in range(3):
        process = start(*arguments, tmp_path / "killed", log=tmp_path / "killed.log")
        wait_for(lambda kill=kill: len(trials(tmp_path / "killed")) > kill)
        time.sleep(moment.uniform(0, 8))
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert start(*arguments, tmp_path / "killed", log=tmp_path / "killed.log").wait(900) == 0
    assert outcome(tmp_path / "killed") == outcome(tmp_path / "whole")
    assert len(outcome(tmp_path / "killed")) == 6
    state = json.loads((tmp_path / "killed" / "trials" / "oracle.json").read_text())
    assert sorted(state["end_order"]) == sorted(state["start_order"]) == [str(n) for n in range(6)]
    reports = [
        json.loads((tmp_path / name / "best" / "metrics.json").read_text()) for name in ("whole", "killed")
    ]
    assert reports[0]["test"] == reports[1]["test"]


def test_a_chief_and_two_workers_of_which_one_is_killed(cyclic_log, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    roles = ["--chief", address, "--lost-after", 20, "--role"]
    out = tmp_path / "out"
    asked = ["--data", cyclic_log, *MODEL, *SMALL, "--trials", 5, "--out", out]
    chief = start(*asked, *roles, "chief", log=tmp_path / "chief.log")
    logs = [tmp_path / f"worker{n}.log" for n in range(2)]
    workers = [start(*roles, "worker", log=log) for log in logs]
    try:
        wait_for(lambda: all(log.is_file() and "Runs trial_" in log.read_text() for log in logs))
        workers[0].send_signal(signal.SIGKILL)
        lost = logs[0].read_text().split("Runs ")[-1].partition(".")[0]
        assert chief.wait(600) == 0
        assert workers[1].wait(60) == 0
    finally:
        for process in (chief, *workers):
            process.kill()
            process.wait()
    found = trials(out)
    assert [(t.number, t.status) for t in found] == [(n, "COMPLETED") for n in range(5)]
    assert all(t.epochs == 2 for t in found)
    said = (tmp_path / "chief.log").read_text()
    assert f"{lost}: its worker fell silent" in said
    assert "5/5" in said and "Test on" in said and (out / "report.html").is_file()
    assert "no more trials" in logs[1].read_text() and f"Runs {lost}." in logs[1].read_text()
