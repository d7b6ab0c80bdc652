"""What `train` leaves behind, and how it stops."""

import dataclasses
import io
import json
import math

import keras
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from metasgcl_tf.callbacks import EpochLines, StopOnNonFinite, WarnOnPosteriorCollapse
from metasgcl_tf.config import build_config
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.errors import InputError, NonFiniteLossError
from metasgcl_tf.evaluation import evaluate, report_of
from metasgcl_tf.fitting import build_optimizer, fit
from metasgcl_tf.models.sasrec import SASRec
from metasgcl_tf.reports.projector import write_projector
from metasgcl_tf.run_folder import load_run
from metasgcl_tf.training import build_model, train
from metasgcl_tf.yaml_text import read_config_file

# Those of `trained_run`, which another process writes, are looked at.
pytestmark = pytest.mark.usefixtures("no_baselines")

METRICS = {"hr@5", "hr@10", "hr@20", "ndcg@5", "ndcg@10", "ndcg@20", "mrr"}
SMALL = {"hidden_dim": 8, "num_layers": 1, "max_length": 4, "k_core": 1, "epochs": 1}


def write_log(path, histories):
    rows = [f"{user},{item}" for user, history in histories.items() for item in history]
    path.write_text("\n".join(["user,item", *rows]) + "\n")
    return str(path)


@pytest.fixture
def small_log(tmp_path):
    """Six users with six items each, one optimizer step an epoch."""
    histories = {user: [(user + step) % 6 for step in range(6)] for user in range(6)}
    return write_log(tmp_path / "log.csv", histories)


@pytest.fixture(scope="module")
def report(trained_run):
    return json.loads((trained_run / "metrics.json").read_text())


def test_the_cycle_is_learned(report):
    for part in ("valid", "test"):
        for protocol in ("masked", "kept"):
            assert report[part][protocol]["ndcg@10"] > 0.95
            assert report[part][protocol]["hr@5"] == 1.0


def test_metrics_say_everything_a_number_needs(report, cyclic_log):
    assert set(report) >= {"dataset", "model", "seed", "commit", "command", "versions", "seconds"}
    assert (report["dataset"], report["model"], report["seed"]) == (str(cyclic_log), "meta_sgcl", 1)
    assert set(report["versions"]) == {"python", "metasgcl-tf", "tensorflow", "keras", "numpy", "polars"}
    for results in (report, *report["baselines"].values()):
        for part in ("valid", "test"):
            assert set(results[part]) == {"masked", "kept"}
            for values in results[part].values():
                assert set(values) == METRICS
                assert all(0 <= value <= 1 for value in values.values())
    assert report["counts"]["users"] == 36 and report["counts"]["items"] == 12
    assert set(report["baselines"]) == {"pop", "item_cooccurrence"}


def test_the_folder_holds_the_log_with_its_ids(trained_run):
    items = pl.read_parquet(trained_run / "items.parquet")["item"]
    users = pl.read_parquet(trained_run / "users.parquet")["user"]
    assert items.to_list() == [f"i{n}" for n in range(12)]
    assert users.to_list() == [f"u{n}" for n in range(36)]
    assert load_run(trained_run).log.num_interactions == 36 * 18


def test_the_model_is_that_of_the_best_validation_epoch(trained_run, report):
    history = pl.read_csv(trained_run / "history.csv")
    assert history["epoch"].to_list() == list(range(6))
    assert report["valid"]["masked"]["ndcg@10"] == pytest.approx(history["val_ndcg@10"].max(), abs=1e-6)
    run = load_run(trained_run)
    for part in ("valid", "test"):
        assert evaluate(run.model, leave_one_out(run.log), part) == report[part]


def test_the_history_and_tensorboard_hold_losses_kl_sigmas_and_ranking(trained_run):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    losses = {"loss", "reconstruction_loss", "meta_reconstruction_loss", "contrastive_loss"}
    losses |= {"kl", "meta_kl", "kl_per_dim", "mean_sigma", "mean_meta_sigma"}
    history = pl.read_csv(trained_run / "history.csv")
    assert set(history.columns) >= losses | {f"val_{name}" for name in METRICS}
    for part, names in {"train": losses, "validation": METRICS}.items():
        events = EventAccumulator(str(trained_run / "tensorboard" / part))
        events.Reload()
        assert set(events.Tags()["tensors"]) >= {f"epoch_{name}" for name in names}
        assert len(events.Tensors(f"epoch_{min(names)}")) == 6


def test_the_projector_serves_the_item_embeddings(trained_run):
    from tensorboard.plugins import base_plugin
    from tensorboard.plugins.projector.projector_plugin import ProjectorPlugin
    from werkzeug.test import Client

    plugin = ProjectorPlugin(base_plugin.TBContext(logdir=str(trained_run / "tensorboard")))
    pages = plugin.get_plugin_apps()

    def fetch(page):
        return Client(pages[page]).get("/?run=.&name=item_embeddings").data

    assert np.frombuffer(fetch("/tensor"), np.float32).shape == (12 * 16,)
    assert fetch("/metadata").decode().split() == [f"i{n}" for n in range(12)]


def test_the_projector_has_a_line_for_each_item_whatever_its_id_holds(make_split, tmp_path):
    log = make_split([[1, 2, 3, 4]]).log
    ids = ["a\tb", "c\nd\re\u2028f", "", "<b>\x0b"]
    model = SASRec(4, 4, hidden_dim=2, num_layers=1, num_heads=1)
    write_projector(tmp_path, model, dataclasses.replace(log, items=pl.Series("item", ids)))
    lines = (tmp_path / "item_ids.tsv").read_text(encoding="utf-8").split("\n")
    assert lines == ["a b", "c d e f", "", "<b>", ""]


# That one seed gives one run is tested across processes in test_cli.py, the order of the data in
# data/test_pipelines.py.
def test_another_seed_gives_other_weights(make_split):
    def weights(seed):
        config = build_config({"model": "bpr_mf", "seed": seed})
        return build_model(config, make_split([[1, 2, 3, 4]])).get_weights()

    assert all(np.any(one != other) for one, other in zip(weights(1), weights(2), strict=True))
    assert all(np.all(one == other) for one, other in zip(weights(1), weights(1), strict=True))


def test_a_run_folder_is_replaced_on_request_only_and_strangers_in_it_stay(small_log, tmp_path):
    config = build_config({"data": small_log, "k_core": 1, "model": "pop"})
    train(config, tmp_path / "run")
    with pytest.raises(InputError, match="`out` should be a new folder"):
        train(config, tmp_path / "run")
    (tmp_path / "run" / "notes.txt").write_text("mine")
    (tmp_path / "run" / "tensorboard").mkdir()
    (tmp_path / "run" / "tensorboard" / "old").touch()
    train(build_config(config.flat(), {"seed": 5}), tmp_path / "run", overwrite=True)
    assert read_config_file(tmp_path / "run" / "config.yaml")["seed"] == 5
    assert (tmp_path / "run" / "notes.txt").read_text() == "mine"
    assert not (tmp_path / "run" / "tensorboard").exists()


def test_an_empty_folder_and_a_missing_parent_are_fine(small_log, tmp_path):
    config = build_config({"data": small_log, "k_core": 1, "model": "pop"})
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a" / "b"):
        train(config, out)
        assert (out / "metrics.json").is_file()


def test_a_model_that_learns_needs_something_to_learn(tmp_path):
    log = write_log(tmp_path / "log.csv", {"a": "xyz", "b": "x"})
    with pytest.raises(InputError, match="at least 4 interactions"):
        train(build_config(SMALL | {"data": log}), tmp_path / "run")
    assert not (tmp_path / "run").exists()
    assert train(build_config({"data": log, "k_core": 1, "model": "pop"}), tmp_path / "run")["test"]


def test_an_infinite_loss_stops_and_keeps_the_epoch_before(small_log, tmp_path):
    # The KL weight is 0 in the first step and 3e38 in the second, with one step an epoch.
    settings = {"data": small_log, "model": "vsan", "epochs": 9, "kl_weight": 3e38, "kl_warmup_steps": 1}
    with pytest.raises(NonFiniteLossError, match=r"`loss` became inf at training step 2\. .*best epoch"):
        train(build_config(SMALL | settings), tmp_path / "run")
    with pytest.warns(UserWarning, match="is not over: its best epoch so far answers"):
        run = load_run(tmp_path / "run")
    values = evaluate(run.model, leave_one_out(run.log), "valid")
    recorded = pl.read_csv(tmp_path / "run" / "history.csv")["val_ndcg@10"].to_list()
    assert recorded == [pytest.approx(values["masked"]["ndcg@10"], abs=1e-6)]


BREAKABLE = [{"model": "sasrec"}]
BREAKABLE += [pytest.param({"training": each}, marks=pytest.mark.slow) for each in ("two_step", "joint")]


@pytest.mark.parametrize("model", BREAKABLE)
def test_a_model_broken_by_its_first_epoch_is_not_kept(small_log, tmp_path, model):
    config = build_config(SMALL | {"data": small_log, "learning_rate": 1e30} | model)
    with pytest.raises(NonFiniteLossError, match=r"non-finite at training step 1.*so there is no model"):
        train(config, tmp_path / "run")
    with pytest.raises(InputError, match=r"with model\.keras"):
        load_run(tmp_path / "run")


def test_the_term_that_broke_is_blamed_before_the_sum(tmp_path):
    stop = StopOnNonFinite(["kl", "loss"], tmp_path / "model.keras")
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(keras.optimizers.Adam(0.25))
    stop.set_model(model)
    stop.on_train_batch_end(0, {"kl": 1.0, "loss": 2.0})
    with pytest.raises(NonFiniteLossError, match=r"`kl` became nan at training step 2\..* 0\.25 may help"):
        stop.on_train_batch_end(1, {"loss": math.nan, "kl": math.nan})


@pytest.mark.parametrize("clip_norm", [None, 2.5])
def test_both_optimizers_clip_to_the_norm_that_is_set(clip_norm):
    for decay in (False, True):
        pair = build_optimizer(build_config({"clip_norm": clip_norm, "cosine_decay": decay}), 10)
        assert pair.main.global_clipnorm == pair.meta.global_clipnorm == clip_norm
    joint = build_optimizer(build_config({"clip_norm": clip_norm, "training": "joint"}), 10)
    assert joint.global_clipnorm == clip_norm


@pytest.mark.parametrize(("given", "weight_decay"), [({}, None), ({"weight_decay": 0.2}, 0.2)])
def test_both_optimizers_decay_weights_as_is_set(given, weight_decay):
    for decay in (False, True):
        pair = build_optimizer(build_config({"cosine_decay": decay} | given), 10)
        assert pair.main.weight_decay == pair.meta.weight_decay == weight_decay


def test_a_weight_decay_below_zero():
    with pytest.raises(InputError, match="`weight_decay` should be 0 or more"):
        build_config({"weight_decay": -0.1})


@pytest.mark.parametrize("clip_norm", [0, -1.0, "much", math.inf])
def test_a_norm_that_nothing_can_be_clipped_to(clip_norm):
    with pytest.raises(InputError, match="`clip_norm` should be"):
        build_config({"clip_norm": clip_norm})


@keras.saving.register_keras_serializable(package="tests")
class WorstAtZero(SASRec):
    """Its loss has a term that is finite at 0, where its gradient is not."""

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        bias = self.encoder.final_norm.beta
        return loss + keras.ops.sum(keras.ops.sqrt(keras.ops.abs(bias * 0.0)))


def test_a_gradient_that_is_not_finite_stops_at_its_step_though_the_loss_is(small_log, tmp_path):
    split = leave_one_out(load(small_log, k_core=1))
    model = WorstAtZero(split.log.num_items, 4, hidden_dim=8, num_layers=1, norm_first=True)
    config = build_config(SMALL | {"model": "sasrec", "data": small_log, "batch_size": 1, "epochs": 3})
    said = r"^The gradient, which reached `.*/beta`, became non-finite at training step 1\."
    with pytest.raises(NonFiniteLossError, match=said):
        fit(model, split, config, [], checkpoint=tmp_path / "model.keras")
    assert math.isfinite(float(model.loss_metrics["loss"].result()))


def test_a_collapsed_posterior_is_told_once(recwarn):
    watch = WarnOnPosteriorCollapse()
    watch.on_epoch_end(0, {"kl_per_dim": 0.01})
    watch.on_epoch_end(1, {})
    assert not recwarn
    watch.on_epoch_end(2, {"kl_per_dim": 0.0005})
    watch.on_epoch_end(3, {"kl_per_dim": 0.0001})
    assert [str(warning.message)[:34] for warning in recwarn] == ["KL per dimension is 0.0005 nats, b"]


def test_a_kl_without_weight_cannot_collapse_the_posterior(recwarn):
    watch = WarnOnPosteriorCollapse()
    watch.on_epoch_end(0, {"kl_per_dim": 0.0001, "kl_weight": 0.0})
    assert not recwarn
    watch.on_epoch_end(1, {"kl_per_dim": 0.0001, "kl_weight": 0.01})
    assert len(recwarn) == 1


def test_ranks_of_every_user_are_kept_and_give_the_metrics(trained_run, report):
    ranks = pl.read_parquet(trained_run / "ranks.parquet")
    assert ranks["user"].to_list() == [f"u{n}" for n in range(36)]
    assert report_of(ranks) == report["test"]
    run = load_run(trained_run)
    run.model.compile()
    split = leave_one_out(run.log)
    batches = pipelines.ranking(split, "test", max_length=run.model.max_length)
    by_keras = run.model.evaluate(batches, verbose=0, return_dict=True)
    for name in METRICS:
        assert report["test"]["masked"][name] == pytest.approx(by_keras[name], abs=1e-6)
        assert report["test"]["kept"][name] == pytest.approx(by_keras[f"kept_{name}"], abs=1e-6)


def test_an_epoch_is_one_line_that_fits_80_columns():
    console = Console(width=80, record=True, file=io.StringIO())
    lines = EpochLines(console, epochs=100)
    lines.set_params({"steps": 3})
    for epoch, ndcg in ((98, 0.5), (99, 0.25)):
        lines.on_epoch_begin(epoch)
        lines.on_train_batch_end(0, {"loss": 1.0})
        lines.on_epoch_end(epoch, {"loss": 1234.5, "val_hr@10": 0.75, "val_ndcg@10": ndcg})
    first, second = console.export_text().splitlines()
    assert first == "epoch  99/100  loss 1234.5000  valid HR@10 0.7500 NDCG@10 0.5000 best so far"
    assert second == "epoch 100/100  loss 1234.5000  valid HR@10 0.7500 NDCG@10 0.2500"
    assert len(first) <= 80
