"""`metasgcl serve-check`: every artefact answers as the trained model did, or it says so."""

import shutil

import numpy as np
import polars as pl
import pytest

from metasgcl_tf import cli
from metasgcl_tf.config import build_config
from metasgcl_tf.export import export
from metasgcl_tf.serving import check
from metasgcl_tf.serving.check import ARTEFACTS, SAMPLE, compared, serve_check
from metasgcl_tf.training import train


@pytest.mark.parametrize("artefact", ARTEFACTS)
def test_every_artefact_agrees(exported, artefact, monkeypatch):
    monkeypatch.setattr(check, "CALLS", {1: 2, 64: 1})
    found = check.check(exported, artefact)
    assert found["users"] == found["same_ids"] == 36 and found["agrees"]
    assert found["largest_difference"] < 1e-5
    assert {users: len(times) for users, times in found["milliseconds"].items()} == {1: 3, 64: 3}


def test_64_bit_ids(counted_version, monkeypatch):
    monkeypatch.setattr(check, "CALLS", {1: 2})
    assert check.check(counted_version, "serving")["same_ids"] == 36


def test_ids_beyond_ascii(tmp_path, monkeypatch):
    lines = "".join(f"u{user} {' '.join(f'é{(user + n) % 8}' for n in range(6))}\n" for user in range(8))
    (tmp_path / "log.txt").write_text(lines, encoding="utf-8")
    config = build_config({"data": str(tmp_path / "log.txt"), "model": "pop"})
    train(config, tmp_path / "run")
    monkeypatch.setattr(check, "CALLS", {1: 2})
    found = check.check(export(tmp_path / "run", tmp_path / "versions"), "serving")
    assert found["agrees"] and found["users"] == found["same_ids"] == 8


def test_the_command_uses_clean_processes_and_tells_of_wrong_answers(counted_version, tmp_path, capsys):
    shutil.copytree(counted_version, tmp_path / "1", symlinks=True)
    sample = pl.read_parquet(tmp_path / "1" / SAMPLE)
    sample.with_columns(pl.col("scores").list.eval(pl.element() + 0.1)).write_parquet(tmp_path / "1" / SAMPLE)
    shutil.rmtree(tmp_path / "1" / "core")
    assert cli.main(["serve-check", str(tmp_path / "1")]) == 1
    printed = capsys.readouterr().out
    assert "differ" in printed and "1e-01" in printed and "36 of 36" in printed


def test_what_cannot_be_checked(exported, tmp_path, capsys, monkeypatch):
    assert cli.main(["serve-check", str(tmp_path)]) == 2
    assert "`path` should be the folder of a version that `metasgcl export` wrote" in capsys.readouterr().err
    shutil.copy(exported / SAMPLE, tmp_path)
    (tmp_path / "core.onnx").touch()
    assert cli.main(["serve-check", str(tmp_path)]) == 2
    assert "should load and answer. Received" in capsys.readouterr().err
    monkeypatch.setitem(check.RUNTIMES, "core.onnx", "no_such_runtime")
    assert serve_check(tmp_path) == [{"artefact": "core.onnx", "skipped": "no-such-runtime is not installed"}]


def test_ids_may_swap_at_ties_alone():
    expected = [[7, 8, 9]], [[3.0, 3.0, 1.0]]
    ids, scores = np.array([[8, 7, 9, 1]]), np.array([[3.0, 3.0, 1.0, -np.inf]])
    assert compared(*expected, ids, scores) == {
        "users": 1,
        "same_ids": 0,
        "largest_difference": 0.0,
        "agrees": True,
    }
    assert not compared(*expected, ids, scores + np.array([[0, 0, 3e-5, 0]]))["agrees"]
    assert not compared(*expected, ids, np.array([[3.0, 3.0, 1.0, 0.5]]))["agrees"]  # one item too many
