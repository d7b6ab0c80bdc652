"""What is kept of a trial of settings."""

import json

import pytest

from benchmarks import probes
from metasgcl_tf.config import build_config
from metasgcl_tf.run_folder import HISTORY, start

MADE = {
    "commit": "c0ffee",
    "command": "metasgcl train --set data=/logs/toys.txt.gz",
    "machine": "m",
    "versions": {},
}


@pytest.fixture
def stopped(tmp_path, make_split):
    """The folder of a run that was stopped after three epochs."""
    run = tmp_path / "run"
    config = build_config({"data": "/logs/toys.txt.gz", "preset": "toys", "dropout": 0.3, "seed": 7})
    start(run, config, make_split([[1, 2, 3, 4]]).log, MADE)
    (run / HISTORY).write_text(
        "epoch,val_ndcg@10,val_kept_ndcg@10\n0,0.01,0.008\n1,0.034567891,0.02\n2,0.02,0.025\n"
    )
    return run


def test_a_stopped_run_is_kept_with_its_epochs_and_no_test_figures(stopped):
    kept = probes.probe(stopped, "no better")
    assert kept["valid_ndcg@10"] == [0.01, 0.034568, 0.02] and not kept["finished"]
    assert kept["data"] == "toys" and kept["seed"] == 7 and kept["commit"] == "c0ffee"
    assert "test" not in kept and "/logs" not in json.dumps(kept)


def test_the_table_says_what_differs_from_the_preset_and_how_far_it_came(stopped, tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "PROBES", tmp_path / "probes.json")
    probes.PROBES.write_text(json.dumps([probes.probe(stopped, "no better")]))
    *_, row = probes.probes_block().splitlines()
    assert row == (
        "| toys | meta_sgcl | dropout=0.3 | 1: 0.0100, 2: 0.0346, 3: 0.0200, stopped | 0.0346 | 0.0200 "
        "| no better |"
    )


def test_a_trial_of_several_seeds_is_kept_as_it_was_written(stopped, tmp_path, monkeypatch):
    trial, of_one = tmp_path / "trial.json", probes.probe(stopped, "")
    del of_one["verdict"]
    trial.write_text(json.dumps(of_one | {"seeds": [1, 2]}))
    kept = probes.probe(trial, "no better")
    assert kept == of_one | {"seeds": [1, 2], "verdict": "no better"}
    monkeypatch.setattr(probes, "PROBES", tmp_path / "probes.json")
    probes.PROBES.write_text(json.dumps([kept]))
    assert "| 0.0346 (2 seeds) | 0.0200 | no better |" in probes.probes_block()


def test_what_no_checkout_can_repeat_is_not_reported(stopped, tmp_path, monkeypatch):
    monkeypatch.setattr(probes, "PROBES", tmp_path / "probes.json")
    probes.PROBES.write_text(json.dumps([probes.probe(stopped, "") | {"commit": "c0ffee-dirty"}]))
    with pytest.raises(SystemExit, match=r"needs a clean checkout\. Received: c0ffee-dirty"):
        probes.probes_block()
