"""Results that are kept: whole, without the places of a machine, and read back or refused."""

import json

import pytest

from metasgcl_tf.config import build_config, recorded_config
from metasgcl_tf.errors import InputError
from metasgcl_tf.results import (
    epochs_trained,
    read_result,
    without_folders,
    without_places,
    write_result,
)

SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10")
TEST = {protocol: dict.fromkeys(SHOWN, 0.1) for protocol in ("masked", "kept")}
REPORT = {
    "dataset": "/home/me/logs/toys.txt.gz",
    "command": "metasgcl train --set data=/home/me/toys.txt.gz 'user_col=the user' --out /home/out/x-seed1",
    **{
        "counts": {},
        "seconds": 1.0,
        "seed": 1,
        "commit": "c",
        "machine": "m",
        "versions": {},
        "valid": {},
        "test": TEST,
    },
    "config": build_config(
        {"data": "/home/me/logs/toys.txt.gz", "preset": "toys", "manual_dir": "/home"}
    ).flat(),
}


def test_a_result_has_names_and_no_places(tmp_path):
    write_result(tmp_path / "x.json", REPORT)
    assert "/home" not in (tmp_path / "x.json").read_text()
    found = read_result(tmp_path / "x.json")
    assert (found["dataset"], found["config"]["data"], found["config"]["preset"]) == ("toys",) * 3
    assert found["command"] == "metasgcl train --set data=toys.txt.gz 'user_col=the user' --out x-seed1"


def test_the_same_run_wherever_its_data_lies():
    named = without_places({"data": "toys", "dropout": 0.5})
    assert named == without_places({"data": "../toys.txt.gz", "preset": "toys"})
    assert named != without_places({"data": "toys.txt.gz"})  # without the preset


def test_what_an_older_version_did_not_know_was_off_whatever_the_preset_says_now():
    now = without_places({"data": "toys"})
    assert recorded_config(now).flat() == now and now["seen_margin"] > 0
    old = {key: value for key, value in now.items() if key not in ("seen_margin", "noise")}
    assert recorded_config(old).flat() == now | {"seen_margin": 0.0}


def test_commands_keep_what_is_no_path():
    assert without_folders("metasgcl hybrid a/b/sasrec --out c/d") == "metasgcl hybrid sasrec --out d"


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("{", "readable"),
        ("[]", "`config`"),
        (json.dumps({key: value for key, value in REPORT.items() if key != "test"}), "`test`"),
        (json.dumps(REPORT | {"config": {"dropuot": 1}}), "dropuot"),
        (json.dumps(REPORT | {"test": TEST | {"kept": {"hr@5": 0.1}}}), "test kept hr@10"),
        (json.dumps(REPORT | {"config": 3}), "configuration"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(tmp_path, text, part):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(InputError, match=part) as caught:
        read_result(tmp_path / "x.json")
    assert "x.json" in str(caught.value) and "\n" not in str(caught.value)


def test_no_file_is_no_result(tmp_path):
    assert read_result(tmp_path / "x.json") == {} and epochs_trained(tmp_path / "history.csv") is None
    (tmp_path / "history.csv").write_text("epoch,loss\n0,1\n1,1\n")
    assert epochs_trained(tmp_path / "history.csv") == 2
