"""`metasgcl report`: what it trains, what it keeps, and what it does with what is there."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from metasgcl_tf import checkpoints, cli, comparing, item_vectors, reporting
from metasgcl_tf.errors import InputError
from metasgcl_tf.experiments import EXPERIMENTS
from metasgcl_tf.interruption import InterruptedTraining
from metasgcl_tf.presets import PRESETS
from metasgcl_tf.report_arguments import minutes
from metasgcl_tf.run_plan import planned
from tests.made_up import MadeUp


@pytest.fixture
def made_up(monkeypatch):
    monkeypatch.setattr(reporting, "check_data", lambda runs: None)
    return MadeUp(monkeypatch)


def report(out, experiments=("table7",), data=("toys",), seeds=(1,), given=None, **options):
    return reporting.report(experiments, data, seeds, given or {}, out, **options)


def files(folder):
    return {path.stem for path in folder.glob("*.json")}


# ---- what is trained ------------------------------------------------------------------------------


def test_runs_that_experiments_share_are_trained_once(made_up, tmp_path):
    sections, failures = report(tmp_path, list(EXPERIMENTS))
    trained = made_up.trained
    assert len(trained) == len(set(trained)) and trained.count("meta_sgcl-seed1") == 1
    # 12 models and a hybrid, 3 ablations, 3 + 5 + 5 + 1 settings, joint, 4 + 5 + 4 settings, 3 x 5 noises.
    assert len(trained) == 13 + 3 + 14 + 1 + 13 + 15
    assert {path.name for path in (tmp_path / "toys").iterdir() if path.is_dir()} == set(trained)
    assert files(tmp_path / "toys") == set(trained) and failures == []
    assert all(result.missing == 0 for section in sections for result in section.results)
    shared = [
        result.reports[0]
        for section in sections
        for result in section.results
        if result.row.name == "meta_sgcl" and "(preset)" in result.row.label
    ]
    assert len(shared) == 4 + 3 and all(found == shared[0] for found in shared)


def test_a_run_a_seed_and_a_folder_a_log(made_up, tmp_path):
    report(tmp_path, ["table7"], ["toys", "/logs/clothing.txt.gz"], [1, 2, 1])
    names = ["meta_sgcl", "meta_sgcl-similarity-cosine"]
    wanted = [f"{name}-seed{seed}" for name in names for seed in (1, 2)]
    assert made_up.trained == wanted * 2 and files(tmp_path / "clothing") == set(wanted)
    kept = json.loads((tmp_path / "clothing" / "meta_sgcl-seed2.json").read_text())
    preset = PRESETS["clothing"]["meta_sgcl"]  # that of the log's name
    assert kept["config"]["preset"] == "clothing" and kept["config"].items() >= preset.items()


def test_a_result_counts_without_its_folder(made_up, tmp_path):
    before, _ = report(tmp_path, ["table2", "fig5"])
    for path in (tmp_path / "toys").iterdir():
        if path.is_dir():
            shutil.rmtree(path)
    made_up.trained.clear()
    after, _ = report(tmp_path, ["table2", "fig5"], data=["/elsewhere/toys.txt.gz"])
    assert after == before and made_up.trained == []


def test_a_folder_that_is_finished_is_kept_without_training(made_up, tmp_path):
    report(tmp_path)
    (tmp_path / "toys" / "meta_sgcl-seed1.json").unlink()
    made_up.trained.clear()
    sections, _ = report(tmp_path, train=False)
    assert made_up.trained == [] and "meta_sgcl-seed1" in files(tmp_path / "toys")
    assert [result.missing for result in sections[0].results] == [0, 0]


def test_without_runs_only_what_is_there_is_reported(made_up, tmp_path):
    report(tmp_path)
    made_up.trained.clear()
    (section,), failures = report(tmp_path, ["table4"], train=False)
    assert made_up.trained == failures == []
    assert [(result.row.label, result.missing) for result in section.results] == [
        ("num_heads 1", 1),
        ("num_heads 2 (preset)", 0),
        ("num_heads 4", 1),
        ("num_heads 8", 1),
    ]


def test_a_result_of_other_settings_is_an_error_or_replaced(made_up, tmp_path):
    report(tmp_path)
    path = tmp_path / "toys" / "meta_sgcl-similarity-cosine-seed1.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"config": kept["config"] | {"epochs": 9}}))
    shutil.rmtree(path.with_suffix(""))
    wanted = rf"cosine-seed1\.json is a finished run with `epochs` = 9\. .* = {kept['config']['epochs']}\."
    with pytest.raises(InputError, match=wanted):
        report(tmp_path)
    made_up.trained.clear()
    report(tmp_path, overwrite=True)
    assert made_up.trained == [path.stem] and json.loads(path.read_text()) == kept


def test_results_of_another_log_are_an_error(made_up, tmp_path):
    report(tmp_path)
    path = tmp_path / "toys" / "meta_sgcl-seed1.json"
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"counts": kept["counts"] | {"interactions": 98}}))
    with pytest.raises(InputError, match=r"results of one log.*toys: 98 and 99"):
        report(tmp_path)


def test_a_hybrid_whose_models_folder_is_gone_trains_in_one_go(tmp_path):
    run = planned("hybrid:sasrec", 1, {"data": "toys"}, tmp_path, kept=True)
    assert run.command[0] == "train" and "hybrid=true" in run.command
    run.trained.folder.mkdir()
    (run.trained.folder / "model.keras").touch()
    assert run.command[:2] == ["hybrid", str(run.trained.folder)]


def test_a_failure_is_told_and_the_rest_goes_on(made_up, tmp_path):
    made_up.broken["meta_sgcl-seed1"] = "no memory"
    sections, failures = report(tmp_path)
    assert failures == [{"run": "toys/meta_sgcl-seed1", "name": "meta_sgcl", "reason": "no memory"}]
    assert [result.missing for result in sections[0].results] == [1, 0]


# ---- item vectors ---------------------------------------------------------------------------------


def test_item_vectors_are_looked_at_once_and_kept_without_the_model(
    made_up, make_split, monkeypatch, tmp_path
):
    table, opened = np.vstack([np.zeros(3), np.eye(3), np.eye(3)]), []  # row 0 is padding
    log = make_split([[1, 2, 3, 4, 5, 6]]).log

    def load_run(folder, compile):
        opened.append(folder.name)
        return SimpleNamespace(log=log, model=SimpleNamespace(item_vectors=lambda: table))

    monkeypatch.setattr(item_vectors, "load_run", load_run)
    (section,), _ = report(tmp_path, ["fig6"])
    assert section.looks == []  # no model there
    for name in ("sasrec-seed1", "meta_sgcl-seed1"):
        (tmp_path / "toys" / name / "model.keras").touch()
    (section,), _ = report(tmp_path, ["fig6"])
    assert [look["model"] for look in section.looks] == ["sasrec", "meta_sgcl"]
    # Trained on 1 2 3 4: 1 2, 2 3 and 3 4 are a quarter apart.
    assert section.looks[0]["alignment"] == pytest.approx(2) and len(section.looks[0]["points"]) == 6
    shutil.rmtree(tmp_path / "toys" / "sasrec-seed1")
    assert report(tmp_path, ["fig6"])[0] == [section] and len(opened) == 2
    with pytest.raises(InputError, match="finished run"):
        report(tmp_path, ["fig6"], given={"epochs": 3})
    (other,), _ = report(tmp_path, ["fig6"], given={"epochs": 3}, overwrite=True)
    assert [look["model"] for look in other.looks] == ["meta_sgcl"]  # its folder still has a model.keras


# ---- a limited time -------------------------------------------------------------------------------


def test_when_the_time_is_up_no_run_begins_and_the_next_call_goes_on(made_up, tmp_path, monkeypatch):
    clock = [0]

    def train(*arguments):
        clock[0] += 60
        return made_up.train(*arguments)

    monkeypatch.setattr(comparing, "train_apart", train)
    monkeypatch.setattr(comparing, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    sections, failures = report(tmp_path, until=50)
    assert made_up.trained == ["meta_sgcl-seed1"] and failures == []
    assert [result.missing for result in sections[0].results] == [0, 1]
    report(tmp_path)
    assert made_up.trained == ["meta_sgcl-seed1", "meta_sgcl-similarity-cosine-seed1"]


@pytest.fixture
def under_way(monkeypatch, tmp_path):
    """A child that stands for a training: at SIGTERM it writes a file, as one does a checkpoint, and ends."""
    program = (
        "import pathlib, signal, sys, time\n"
        "def stop(*_):\n    pathlib.Path('asked').touch()\n    sys.exit(143)\n"
        "signal.signal(signal.SIGTERM, stop)\nprint('ready')\n"
        "pathlib.Path('ready').touch()\ntime.sleep(60)\n"
    )
    popen = subprocess.Popen

    def child(_, **options):
        process = popen([sys.executable, "-c", program], cwd=tmp_path, **options)
        while not (tmp_path / "ready").exists():
            time.sleep(0.01)
        return process

    monkeypatch.setattr(comparing.subprocess, "Popen", child)
    return [planned(name, None, {"data": "toys"}, tmp_path) for name in ("pop", "sasrec")]


def test_sigterm_reaches_the_run_under_way_and_ends_the_command(under_way, tmp_path, monkeypatch):
    def terminate_soon(*_):
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
        return []

    monkeypatch.setattr(comparing, "stop_at", terminate_soon)  # called once the child is there
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(InterruptedTraining, match="the same command goes on") as stopped:
        comparing.train_missing(under_way, Console(quiet=True))
    assert stopped.value.signal == signal.SIGTERM and (tmp_path / "asked").exists()
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_run_under_way_is_asked_to_stop_which_is_no_failure(under_way, tmp_path):
    console = Console(record=True, quiet=False, file=(tmp_path / "said").open("w"))
    start = time.monotonic()
    assert comparing.train_missing(under_way, console, start + 0.3) == []
    assert time.monotonic() - start < 30 and (tmp_path / "asked").exists()
    said = console.export_text()
    assert "1/2 pop: not finished when the time was up" in said and "sasrec" not in said


def test_one_that_does_not_stop_is_killed(monkeypatch):
    monkeypatch.setattr(comparing, "SECONDS_TO_STOP", 0.3)
    program = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint(1, flush=True)\n"
    program += "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        timers = comparing.stop_at(time.monotonic(), process)
        assert process.wait(30) == -9 and len(timers) == 2


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_where_it_would_have_without(cyclic_log, monkeypatch, tmp_path):
    given = {"data": str(cyclic_log), "hidden_dim": 8, "num_layers": 1, "max_length": 8, "noise": 0.3}
    given |= {"epochs": 40, "patience": 40}
    parts, whole = (planned("meta_sgcl", 1, given, tmp_path / name, kept=True) for name in ("parts", "whole"))
    for run in (parts, whole):
        run.folder.parent.mkdir()
    clock, quiet = [0], Console(quiet=True)

    def stop_after_a_checkpoint(until, process):
        def watch():
            while not checkpoints.files(parts.folder / checkpoints.FOLDER) and process.poll() is None:
                time.sleep(0.05)
            clock[0] = until
            process.terminate()

        threading.Thread(target=watch, daemon=True).start()
        return []

    with monkeypatch.context() as patched:
        patched.setattr(comparing, "time", SimpleNamespace(monotonic=lambda: clock[0]))
        patched.setattr(comparing, "stop_at", stop_after_a_checkpoint)
        assert comparing.train_missing([parts], quiet, until=1) == []
    assert not parts.finished() and parts.command[:2] == ["train", "--resume"]
    assert comparing.train_missing([parts, whole], quiet) == []
    one, other = parts.report(), whole.report()
    assert one["test"] == other["test"] and one["epochs_trained"] == other["epochs_trained"] == 40


# ---- the command ----------------------------------------------------------------------------------


def test_the_command_writes_a_report_and_says_what_is_missing(capsys, made_up, tmp_path):
    made_up.counts = {"users": 19412, "items": 11924, "interactions": 167597}
    command = ["report", "--data", "toys", "--experiment", "table7,fig3", "--out", str(tmp_path)]
    assert cli.main([*command, "--max-time", "0"]) == 0
    assert "4 of 4 planned results are missing." in capsys.readouterr().out and not made_up.trained
    assert cli.main(command) == 0
    assert "missing" not in capsys.readouterr().out
    text = (tmp_path / "report.md").read_text()
    assert "## Table VII: similarity (toys)" in text and "| paper | 0.0563 | 0.0795 |" in text
    assert "<svg" in (tmp_path / "report.html").read_text()
    assert (tmp_path / "figures" / "toys-fig3.svg").read_text().startswith("<?xml")
    for path in (tmp_path / "toys").glob("*.json"):
        assert str(tmp_path) not in path.read_text()
    made_up.broken["meta_sgcl-num_heads-1-seed1"] = "no <memory>"
    assert cli.main([*command[:4], "table4", *command[5:]]) == 1
    assert (
        "Failed: toys/meta\\_sgcl-num\\_heads-1-seed1: no \\<memory\\>"
        in (tmp_path / "report.md").read_text()
    )


REFUSED = {
    "--experiment table9": ["`experiment`", "did you mean"],
    "--data nowhere.csv": ["nowhere.csv"],
    "--data toys,./toys.txt": ["`data`", "different names"],
    "--seeds -1": ["`seed`", "-1"],
    "--set dropuot=1": ["`dropuot`", "did you mean 'dropout'"],
    "--set noise=2": ["`noise`", "between 0 and 1"],
    "--set seed=3": ["`set`", "`seed`", "3"],
    "--set hybrid=true": ["`set`", "`hybrid`"],
    "--preset toyz": ["`preset`", "did you mean 'toys'"],
    "--max-time soon": ["--max-time", "soon"],
    "--max-time -1": ["--max-time"],
    "--out file": ["`out`", "file"],
}  # fmt: skip


@pytest.mark.parametrize("options", REFUSED)
def test_refused_in_one_line_before_anything_is_trained(refused, monkeypatch, tmp_path, options):
    made_up = MadeUp(monkeypatch)
    (tmp_path / "file").touch()
    line = refused("report", "--out", "out", *options.split())
    assert all(part in line for part in REFUSED[options])
    assert made_up.trained == [] and not (tmp_path / "out").exists()


def test_without_its_packages_it_says_how_to_get_them(capsys, monkeypatch):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["report"]) == 2
    assert 'pip install "metasgcl-tf[report]"' in capsys.readouterr().err


def test_times_are_minutes_unless_they_say_otherwise():
    assert (minutes("90"), minutes("0.5"), minutes("2h"), minutes("1h30m")) == (5400, 30, 7200, 5400)


def test_a_planned_run_is_plain_data(tmp_path):
    run = planned("sasrec", 1, {"data": "toys"}, tmp_path)
    assert dataclasses.is_dataclass(run) and run.kept is None and run.report() == {}
