"""Real processes that are killed, find the disk full or the clock wrong: what do they lose?"""

import itertools
import json
import random
import resource
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from metasgcl_tf import checkpoints
from metasgcl_tf.config import build_config, model_parameters
from metasgcl_tf.models import MODELS
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.run_plan import TRAINING_KEYS
from metasgcl_tf.training import resume, train
from tests.killing import Killed, assert_same_end, kill_after, start_process

pytestmark = pytest.mark.reliability

SMALL = {
    **{"hidden_dim": 8, "num_layers": 1, "max_length": 8, "dropout": 0.2, "learning_rate": 0.01},
    **{"batch_size": 4, "epochs": 40, "patience": 40, "checkpoint_steps": 3},
}
KILLS = 10


def command(*arguments):
    return [sys.executable, "-m", "metasgcl_tf.cli", "train", *map(str, arguments)]


def as_new(log, out):
    return command("--data", log, "--out", out, "--set", *(f"{key}={value}" for key, value in SMALL.items()))


def contents(run):
    """Everything of a run that another run can have too, the weights and optimizers bit by bit."""
    report = read_metrics(run)
    with zipfile.ZipFile(run / "model.keras") as archive:
        weights = archive.read("model.weights.h5")
    return report["valid"], report["test"], (run / "history.csv").read_text(), weights


@pytest.fixture(scope="module")
def whole(cyclic_log, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert start_process(as_new(cyclic_log, folder / "run"), folder / "log").wait(900) == 0
    return folder / "run"


def test_ten_kills_at_random_moments(whole, cyclic_log, tmp_path, record_property):
    run, log, seed = tmp_path / "run", tmp_path / "log", int(time.time())
    moment, steps = random.Random(seed), []
    for kill in range(KILLS):
        begun = (run / "config.yaml").exists()
        process = start_process(command("--resume", run) if begun else as_new(cyclic_log, run), log)
        known, end = checkpoints.files(run / checkpoints.FOLDER), time.monotonic() + 300
        while process.poll() is None and time.monotonic() < end:
            if moment.random() < 0.1 and kill % 3 == 0:  # a third of the kills come before the first step
                break
            if checkpoints.files(run / checkpoints.FOLDER) != known:
                time.sleep(moment.uniform(0, 0.5))
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait(60) == -signal.SIGKILL, log.read_text()
        newest = checkpoints.newest(run / checkpoints.FOLDER)
        steps.append(newest.notes["step"] if newest else 0)
    assert start_process(command("--resume", run), log).wait(900) == 0, log.read_text()
    assert "cannot be read" not in log.read_text()
    assert contents(run) == contents(whole)
    said = f"{KILLS} of one run, newest checkpoints then at steps {steps}; same weights, history and metrics"
    record_property("kill -9 at random moments", said)


@pytest.mark.parametrize("size", [20_000, 60_000, 150_000])
def test_a_disk_that_takes_no_more(whole, cyclic_log, tmp_path, size, record_property):
    """A limit on the size of a file: checkpoints, the model or the log's tables do not fit."""
    run, log = tmp_path / "run", tmp_path / "log"

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    code = start_process(as_new(cyclic_log, run), log, preexec_fn=limit).wait(900)
    said = log.read_text()
    assert "Traceback" not in said and code in (0, 2)
    if code == 0:
        assert "No checkpoint of step" in said or size > 60_000
    else:
        assert "File too large" in said
        again = command("--resume", run) if (run / "config.yaml").exists() else as_new(cyclic_log, run)
        assert start_process(again, log).wait(900) == 0, log.read_text()
    assert contents(run) == contents(whole)
    record_property(f"files of at most {size:,} bytes", f"exit code {code}, then the same run")


def test_a_full_file_system(whole, cyclic_log, tmp_path, record_property):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=600k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("file systems cannot be mounted here")
    try:
        code = start_process(as_new(cyclic_log, disk / "run"), tmp_path / "log").wait(900)
        said = (tmp_path / "log").read_text()
        assert "Traceback" not in said and "No space left on device" in said and code in (0, 2)
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        if code == 2:
            assert start_process(command("--resume", disk / "run"), tmp_path / "log").wait(900) == 0
        assert contents(disk / "run") == contents(whole)
        record_property("full file system", f"exit code {code}, then the same run")
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_clock_that_goes_backwards(whole, cyclic_log, tmp_path, monkeypatch, record_property):
    backwards = itertools.count(time.time(), -3600)
    monkeypatch.setattr(time, "time", lambda: next(backwards))
    train(build_config(SMALL | {"data": str(cyclic_log)}), tmp_path / "run")
    assert contents(tmp_path / "run")[:3] == contents(whole)[:3]
    record_property("a clock that goes back an hour at every look", "the same run")


@pytest.mark.parametrize("model", [name for name, cls in MODELS.items() if cls.learns()])
def test_every_model_goes_on_exactly(model, cyclic_log, tmp_path, monkeypatch, record_property):
    known = {*model_parameters(model), *TRAINING_KEYS}
    given = {key: value for key, value in SMALL.items() if key in known} | {"epochs": 3}
    config = build_config(given | {"data": str(cyclic_log), "model": model})
    monkeypatch.setattr("metasgcl_tf.run_folder.tidy", lambda run: None)
    train(config, tmp_path / "whole")
    with monkeypatch.context() as patched:
        kill_after(14, patched)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    resume(tmp_path / "run")
    runs = tmp_path / "run", tmp_path / "whole"
    assert contents(runs[0])[:2] == contents(runs[1])[:2]
    assert_same_end(*runs)
    # Each time that a process traces the same graph, TensorFlow may add up the parts of the reported loss in
    # another order (real processes are compared to the last digit above).
    histories = [pl.read_csv(run / "history.csv").to_numpy() for run in runs]
    np.testing.assert_allclose(*histories, rtol=1e-6)
    record_property(f"{model}, resumed in the middle of an epoch", "the same weights and metrics")


def test_two_processes_on_one_folder(cyclic_log, tmp_path):
    run, logs = tmp_path / "run", [tmp_path / "first", tmp_path / "second"]
    first = start_process(as_new(cyclic_log, run), logs[0])
    try:
        while not (run / "checkpoints").exists():
            assert first.poll() is None, logs[0].read_text()
            time.sleep(0.05)
        assert start_process(command("--resume", run), logs[1]).wait(300) == 2
        assert "no other process trains" in logs[1].read_text() and "Traceback" not in logs[1].read_text()
        assert first.wait(900) == 0, logs[0].read_text()
    finally:
        first.kill()
    assert json.loads((run / "metrics.json").read_text())["test"]


def test_a_folder_that_cannot_be_used(cyclic_log, tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").mkdir()
    for out in (tmp_path / "file" / "run", tmp_path / "run", Path("/proc/run")):
        log = tmp_path / "log"
        assert start_process(as_new(cyclic_log, out), log).wait(300) == 2
        assert "Traceback" not in log.read_text()
