"""A run that goes on: on a cycle it is known where a new item belongs."""

import json

import numpy as np
import polars as pl
import pytest
import yaml

from metasgcl_tf import cli
from metasgcl_tf.config import build_config
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError
from metasgcl_tf.evaluation import evaluate
from metasgcl_tf.recommending import recommend
from metasgcl_tf.run_folder import load_run
from metasgcl_tf.training import train
from metasgcl_tf.updating import configs, update
from metasgcl_tf.yaml_text import read_config_file

CYCLE = [f"i{n}" for n in range(24)]
GROWN = [*CYCLE, "new"]
SETTINGS = {"hidden_dim": 16, "num_layers": 1, "max_length": 8, "dropout": 0, "batch_size": 8, "k_core": 1}
SETTINGS |= {"model": "sasrec", "learning_rate": 0.01, "epochs": 10, "cosine_decay": True}

pytestmark = pytest.mark.usefixtures("no_baselines")


def write_log(path, walks):
    """`{user: (where it starts, how many steps, on which cycle)}`"""
    rows = [
        f"{user},{cycle[(start + step) % len(cycle)]}"
        for user, (start, steps, cycle) in walks.items()
        for step in range(steps)
    ]
    path.write_text("\n".join(["user,item", *rows]) + "\n")
    return str(path)


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """A model of users who walk 8 steps around the cycle."""
    folder = tmp_path_factory.mktemp("old")
    log = write_log(folder / "log.csv", {f"u{user}": (user % 24, 8, CYCLE) for user in range(72)})
    train(build_config(SETTINGS | {"data": log}), folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def later_log(tmp_path_factory):
    """They go on for 6 steps, others walk 14, and everybody meets the new item behind i23."""
    walks = {f"u{user}": ((user + 8) % 24, 6, GROWN) for user in range(72)}
    walks |= {f"v{user}": (user, 14, GROWN) for user in range(50)}
    return write_log(tmp_path_factory.mktemp("later") / "later.csv", walks)


@pytest.fixture(scope="module")
def updated_run(old_run, later_log):
    """The run after that, written by `metasgcl update`."""
    assert cli.main(["update", str(old_run), "--data", later_log, "--epochs", "8"]) == 0
    return old_run.with_name("run-updated")


def test_the_new_item_is_recommended_in_its_place(updated_run):
    run = load_run(updated_run)
    assert run.log.items.to_list()[:24] == load_run(updated_run.with_name("run")).log.items.to_list()
    histories = {"before it": CYCLE[18:24], "at it": [*CYCLE[19:24], "new"], "elsewhere": CYCLE[3:8]}
    assert recommend(run, histories, k=1)["item"].to_list() == ["new", "i0", "i8"]


def test_old_and_new_items_are_reported_apart_before_and_after(updated_run):
    report = json.loads((updated_run / "metrics.json").read_text())
    found = report["update"]
    assert (found["new_interactions"], found["new_users"], found["new_items"]) == (72 * 6 + 50 * 14, 50, 1)
    # Who starts at 11 ends at the new item after 14 steps, and of the 72 those who went on at 19.
    assert {group: values["users"] for group, values in found["after"].items()} == {
        "old items": 122 - 5,
        "new items": 5,
    }
    for protocol in ("masked", "kept"):
        before, after = (found[when]["new items"][protocol]["mrr"] for when in ("before", "after"))
        assert before < 0.6 and after > 0.9
        # The whole is made of both.
        parts = [found["after"][group] for group in ("old items", "new items")]
        whole = sum(part["users"] * part[protocol]["mrr"] for part in parts) / 122
        assert whole == pytest.approx(report["test"][protocol]["mrr"])


def test_training_goes_on_where_it_was(old_run, updated_run):
    old, new = load_run(old_run), load_run(updated_run)
    assert int(new.model.optimizer.iterations) > int(old.model.optimizer.iterations) > 0
    assert float(new.model.optimizer.learning_rate) == pytest.approx(0.01)
    config = read_config_file(updated_run / "config.yaml")
    assert (config["epochs"], config["cosine_decay"], config["hidden_dim"]) == (8, False, 16)


def test_the_best_epoch_is_kept_and_the_start_is_one(old_run, later_log, updated_run, tmp_path):
    # At this rate every epoch is worse than none.
    given = {"learning_rate": 10.0, "epochs": 1}
    report = update(old_run, later_log, tmp_path / "worse", given)
    assert report["update"]["after"] == report["update"]["before"]
    old, kept = load_run(old_run).model, load_run(tmp_path / "worse").model
    assert int(kept.optimizer.iterations) == int(old.optimizer.iterations)
    np.testing.assert_array_equal(kept.embedding.table.numpy()[:25], old.embedding.table.numpy())
    history = pl.read_csv(updated_run / "history.csv")["val_ndcg@10"]
    run = load_run(updated_run)
    values = evaluate(run.model, leave_one_out(run.log), "valid")
    assert values["masked"]["ndcg@10"] == pytest.approx(history.max(), abs=1e-6)
    assert history.max() > report["valid"]["masked"]["ndcg@10"]


def test_what_only_counts_counts_anew(counted_run, tmp_path):
    old = (counted_run.parent / "cycle.csv").read_text()
    later = "".join(f"{user},{item}\n" for user in (3, 40) for item in (2**53 + 1, 2**53 + 2, 5, 6))
    (tmp_path / "later.csv").write_text("user,item\n" + later)
    (tmp_path / "whole.csv").write_text(old + later)
    report = update(counted_run, tmp_path / "later.csv", tmp_path / "run")
    config = build_config(read_config_file(counted_run / "config.yaml"))
    whole = build_config(config.flat(), {"data": str(tmp_path / "whole.csv"), "k_core": 1})
    expected = train(whole, tmp_path / "whole")
    assert (report["valid"], report["test"]) == (expected["valid"], expected["test"])
    assert report["update"]["after"]["new items"]["users"] == 2


def test_the_new_log_is_read_as_the_old_one_was_unless_told():
    old = build_config(SETTINGS | {"data": "old.csv", "item_col": "sku", "min_rating": 3, "k_core": 5})
    training, log = configs(old, {"data": "new.csv", "min_rating": 4, "epochs": 2, "seed": 7})
    assert (log.data.data, log.data.item_col, log.data.min_rating, log.data.k_core) == (
        "new.csv",
        "sku",
        4,
        1,
    )
    assert training.data == old.data
    assert (training.training.epochs, training.training.seed) == (2, 7)
    assert configs(old, {"data": "new.csv"})[0].training.epochs == 5


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--data", "none.csv"], ["existing file", "'none.csv'"]),
        (["--data", "later.csv", "--item-col", "sku"], ["'sku'", "--item-col"]),
        (["--data", "later.csv", "--set", "hidden_dim=32"], ["`set`", "learning_rate", "'hidden_dim'"]),
        (["--data", "later.csv", "--set", "epohcs=3"], ["`set`", "did you mean 'epochs'", "'epohcs'"]),
        (["--data", "later.csv", "--epochs", "0"], ["`epochs`", "at least 1"]),
        (["--data", "later.csv", "--out", "run"], ["`out`", "another folder than the run"]),
        (["--data", "later.csv", "--out", "taken"], ["`out`", "new folder"]),
        ([], ["--data"]),
    ],
)
def test_what_is_refused(capsys, counted_run, tmp_path, monkeypatch, options, parts):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "later.csv").write_text("user,item\n1,2\n")
    (tmp_path / "run").symlink_to(counted_run)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").touch()
    try:
        code = cli.main(["update", "run", *options])
    except SystemExit as stop:  # argparse
        code = stop.code
    error = capsys.readouterr().err
    assert code == 2 and error.count("\n") == 1 and all(part in error for part in parts)
    assert not (tmp_path / "run-updated").exists()


def test_a_hybrid_is_not_updated(old_run, tmp_path):
    config = read_config_file(old_run / "config.yaml") | {"hybrid": True}
    for path in old_run.iterdir():
        if path.is_file():
            (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=r"`run` should be that of a model alone.*metasgcl hybrid"):
        update(tmp_path, "later.csv", tmp_path / "out")
