"""`metasgcl tune` with real training, on a log and a model as small as can be."""

import csv

import pytest

from metasgcl_tf import cli
from metasgcl_tf.config import build_config
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.training import train
from metasgcl_tf.tuning import devices
from metasgcl_tf.tuning import tune as tune_in_python
from metasgcl_tf.tuning.search import Search, read_search
from metasgcl_tf.tuning.trials import best_first, read_trials
from metasgcl_tf.yaml_text import read_config_file

pytestmark = pytest.mark.usefixtures("no_baselines")

SETTINGS = ["hidden_dim=8", "epochs=3", "batch_size=64", "learning_rate=0.05"]
OVER = ["--over", "learning_rate,hidden_dim", "--tuner", "random"]


def tune(*arguments):
    return cli.main(["tune", *map(str, arguments)])


@pytest.fixture(scope="module")
def searched(cyclic_log, tmp_path_factory):
    """A folder with two trials of two epochs."""
    out = tmp_path_factory.mktemp("tuned") / "a [folder]"
    model = ["--data", cyclic_log, "--model", "bpr_mf", "--set", *SETTINGS]
    assert tune(*model, *OVER, "--epochs", 2, "--trials", 2, "--out", out) == 0
    return out


@pytest.fixture(scope="module")
def search(searched):
    return Search.from_dict(read_search(searched))


@pytest.fixture(scope="module")
def trials(searched, search):
    return read_trials(searched, search.objective, list(search.space))


def test_the_best_is_trained_on_the_whole_budget(searched, search, trials):
    best, found = best_first(trials)[0], build_config(read_config_file(searched / "best.yaml"))
    assert found.training.epochs == 3 and found.training.seed == 1
    assert {name: found.flat()[name] for name in search.space} == best.values
    report = read_metrics(searched / "best")
    assert build_config(report["config"]) == found
    assert {"masked", "kept"} == set(report["test"])


def test_a_trial_is_trained_as_train_does(search, trials, tmp_path):
    assert [trial.epochs for trial in trials] == [2, 2]
    second = trials[1]
    train(search.trial_config(second.values, 1), tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "history.csv").open()))
    assert [float(row["val_ndcg@10"]) for row in rows] == pytest.approx(second.history, abs=0)
    assert second.score == max(second.history) and second.best_epoch == second.history.index(second.score) + 1


def test_the_folder_alone_goes_on(searched, capsys):
    before = (searched / "best" / "metrics.json").read_bytes()
    assert tune("--out", searched) == 0
    printed = capsys.readouterr().out
    assert "2 of 2 trials were over before" in printed
    assert str(searched / "report.html") in printed and "Test on" in printed
    assert (searched / "best" / "metrics.json").read_bytes() == before


def test_a_folder_tells_how_its_search_began(searched, search, monkeypatch):
    before = read_search(searched)
    monkeypatch.setattr("sys.argv", ["metasgcl", "tune", "--out", "again"])
    monkeypatch.setattr("metasgcl_tf.provenance._commit", lambda: "another")
    tune_in_python(search, searched, trials=2, max_seconds=9.0)
    assert read_search(searched) == before | {"max_seconds": 9.0}
    assert before["command"] and before["max_seconds"] is None


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--tuner", "grid"], ["`tuner` = 'random'", "'grid'"]),
        (["--epochs", "5"], ["`epochs of a trial` = 2", "5"]),
        (["--set", "dropout=0.1"], ["`dropout`", "bpr_mf"]),
        (["--set", "num_negatives=3"], ["`num_negatives` = 1", "3"]),
        (["--over", "l2_weight"], ["`space`"]),
    ],
)
def test_a_folder_of_another_search_is_refused(searched, capsys, options, parts):
    assert tune("--out", searched, *options) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and all(part in line for part in parts)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--space", "none.yaml"], ["`--space`", "none.yaml"]),
        (["--over", "dropuot"], ["`space`", "did you mean 'dropout'"]),
        (["--objective", "test_ndcg@10"], ["`objective`", "test items"]),
        (["--trials", "0"], ["`trials`", "at least 1"]),
        (["--max-time", "soon"], ["--max-time", "2h"]),
        (["--max-time", "9" * 400 + "h"], ["--max-time", "2h"]),
        (["--model", "pop"], ["`model`", "trained", "'pop'"]),
        (["--data", "none.csv"], ["none.csv"]),
        (["--role", "boss", "--chief", "localhost:1"], ["`role`", "'boss'"]),
        (["--role", "worker"], ["--chief HOST:PORT"]),
        (["--role", "worker", "--chief", "localhost"], ["HOST:PORT", "'localhost'"]),
        (["--chief", "localhost:5000"], ["--role"]),
        (["--role", "chief", "--chief", "192.0.2.1:5000"], ["`chief`", "this machine", "192.0.2.1"]),
        (["--lost-after", "0"], ["`lost_after`", "above 0"]),
        (["--report-only"], ["`out`", "metasgcl tune"]),
    ],
)
def test_bad_input_is_refused_before_the_first_trial(tmp_path, monkeypatch, capsys, options, parts):
    monkeypatch.chdir(tmp_path)
    try:
        code = tune(*options, "--out", "new")
    except SystemExit as stop:  # argparse
        code = stop.code
    line = capsys.readouterr().err
    assert code == 2 and line.count("\n") == 1
    assert all(part in line for part in parts), line
    assert not (tmp_path / "new").exists()


def test_without_the_extra_it_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr(cli.importlib.util, "find_spec", lambda name: None)
    assert tune() == 2
    assert 'pip install "metasgcl-tf[tuning]"' in capsys.readouterr().err


def test_one_gpu_with_growing_memory(monkeypatch):
    calls = []
    gpus = ["gpu0", "gpu1"]
    monkeypatch.setattr(devices.tf.config, "list_physical_devices", lambda kind: gpus)
    monkeypatch.setattr(
        devices.tf.config, "set_visible_devices", lambda kept, kind: calls.append((kept, kind))
    )
    experimental = devices.tf.config.experimental
    monkeypatch.setattr(experimental, "set_memory_growth", lambda gpu, grows: calls.append((gpu, grows)))
    monkeypatch.setenv("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    devices.use_one_gpu()
    assert calls == [(["gpu0"], "GPU"), ("gpu0", True)]
    for capability, helps in (((7, 5), False), ((8, 0), True), ((12, 0), True), (None, False)):
        details = {"compute_capability": capability} if capability else {}
        monkeypatch.setattr(experimental, "get_device_details", lambda gpu, found=details: found)
        assert devices.computes_bfloat16() is helps
    gpus.clear()
    assert not devices.computes_bfloat16()


@pytest.mark.slow
def test_keras_tuners_own_tuners_take_the_hypermodel(cyclic_log, tmp_path):
    import keras_tuner

    from metasgcl_tf.data.splitting import leave_one_out
    from metasgcl_tf.datasets import load
    from metasgcl_tf.tuning import RecommenderHyperModel

    config = build_config({"hidden_dim": 32, "max_length": 8, "epochs": 1, "num_layers": 1})
    search = Search(config, {"hidden_dim": [32, 64]}).checked()
    hypermodel = RecommenderHyperModel(search, leave_one_out(load(str(cyclic_log))))
    objective = keras_tuner.Objective("val_ndcg@10", "max")
    tuner = keras_tuner.GridSearch(hypermodel, objective=objective, directory=str(tmp_path))
    tuner.search()
    assert {trial.hyperparameters["hidden_dim"] for trial in tuner.oracle.get_best_trials(2)} == {32, 64}
    assert all(trial.score > 0 for trial in tuner.oracle.get_best_trials(2))
    assert tuner.get_best_models(1)[0].num_items == 12
