"""Hybrid: its scores by hand, the weight chosen on validation, its file and its run folder."""

import json
import zipfile

import keras
import numpy as np
import pytest

from metasgcl_tf import cli, mixing
from metasgcl_tf.config import build_config
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError
from metasgcl_tf.evaluation import evaluate, held_out_ranks
from metasgcl_tf.models import Hybrid, ItemCooccurrence, Pop, SASRec
from metasgcl_tf.optimizers import RowWiseAdam
from metasgcl_tf.run_folder import load_run
from metasgcl_tf.yaml_text import read_config_file

NUM_ITEMS, LENGTH = 9, 4


@pytest.fixture(scope="module")
def split(make_split):
    """Mostly the next item follows; item 9 stands only where it is held out, so it has no neighbours."""
    rng = np.random.default_rng(0)
    histories = []
    for user in range(30):
        items = [user % 8]
        for _ in range(7):
            items.append((items[-1] + (1 if rng.random() < 0.6 else int(rng.integers(1, 8)))) % 8)
        histories.append([item + 1 for item in items])
    histories[0][-1] = 9
    return make_split(histories, num_items=NUM_ITEMS)


@pytest.fixture(scope="module")
def parts(split):
    """A SASRec after a little training, and what the log's neighbours say."""
    keras.utils.set_random_seed(1)
    model = SASRec(NUM_ITEMS, LENGTH, hidden_dim=8, num_layers=1, num_heads=2, dropout=0.0)
    model.compile(RowWiseAdam(0.02))
    batches = pipelines.next_item(split, max_length=LENGTH, batch_size=8)
    model.fit(batches.repeat(4), shuffle=False, verbose=0)
    cooccurrence = ItemCooccurrence(NUM_ITEMS, max_length=6, recent_items=6)
    cooccurrence.adapt(split)
    return model, cooccurrence


HISTORIES = np.array([[0, 0, 0, 1, 2, 3], [5, 1, 7, 8, 1, 2], [0, 0, 0, 0, 0, 9], [0] * 6], np.int32)


def scores_of(model, item_ids=HISTORIES):
    return keras.ops.convert_to_numpy(model.score_items({"item_ids": np.asarray(item_ids, np.int32)}))


def by_hand(model, cooccurrence, weight, item_ids):
    """The docstring's formula, history by history."""
    item_ids = np.asarray(item_ids, np.int32)
    all_logits = scores_of(model, item_ids[:, -LENGTH:])[:, 1:].astype(np.float64)
    all_counted = scores_of(cooccurrence, item_ids)[:, 1:].astype(np.float64)
    rows = []
    for logits, counted in zip(all_logits, all_counted, strict=True):
        chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        shares = counted / counted.sum() if counted.sum() else np.zeros_like(counted)
        rows.append([-np.inf, *((1 - weight) * chances + weight * shares)])
    return np.array(rows)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_scores_are_the_mixture_by_hand(parts, weight):
    expected = by_hand(*parts, weight, HISTORIES)
    np.testing.assert_allclose(scores_of(Hybrid(*parts, weight)), expected, rtol=1e-5, atol=1e-9)
    # Two histories have neighbours, two (item 9 alone, nothing at all) have none.
    np.testing.assert_allclose(expected[:, 1:].sum(axis=1), [1, 1, 1 - weight, 1 - weight], rtol=1e-6)


@pytest.mark.parametrize("place", [0, 1])
def test_at_the_ends_it_ranks_as_one_of_its_parts(parts, split, place):
    for part in ("valid", "test"):
        alone, mixed = (held_out_ranks(m, split, part) for m in (parts[place], Hybrid(*parts, float(place))))
        assert alone.equals(mixed)
    assert not held_out_ranks(parts[1 - place], split, "test").equals(alone)


def test_the_weight_is_the_best_of_the_grid_by_another_computation(parts, split):
    whole = np.array([split.log.history(user) for user in split.evaluated])
    values = {}
    for weight in mixing.WEIGHTS:
        gains = []
        for (*history, target, _), scores in zip(
            whole.tolist(), by_hand(*parts, weight, whole[:, :-2][:, -6:]).astype(np.float32), strict=True
        ):
            rivals = set(range(1, NUM_ITEMS + 1)) - set(history) - {target}
            rank = 1 + sum(scores[item] >= scores[target] for item in rivals)
            gains.append(1 / np.log2(rank + 1) if rank <= 10 else 0)
        values[weight] = np.mean(gains)
    found = mixing.ndcg_of_weights(Hybrid(*parts, 0.5), split)
    assert found == pytest.approx(values, abs=1e-6)
    best = max(values.values())
    assert best > max(values[0.0], values[1.0])  # so it is worth choosing
    hybrid, report = mixing.mix(parts[0], split, build_config({"preset": "toys"}))
    assert report["valid_ndcg@10"][str(hybrid.weight)] == max(report["valid_ndcg@10"].values())
    assert evaluate(hybrid, split, "valid")["masked"]["ndcg@10"] == pytest.approx(
        report["valid_ndcg@10"][str(hybrid.weight)], abs=1e-6
    )
    assert hybrid.cooccurrence.config["recency_decay"] == report["cooccurrence"]["recency_decay"] == 0.7


def test_of_equal_weights_the_smallest_is_taken():
    assert mixing.best_weight({0.5: 0.2, 0.1: 0.3, 0.0: 0.1, 0.2: 0.3}) == 0.1


def test_a_reloaded_hybrid_scores_and_recommends_the_same_without_an_optimizer(parts, tmp_path):
    parts[0].compile("adam")
    hybrid = Hybrid(*parts, 0.3)
    items, _ = hybrid.recommend(HISTORIES, 3)
    hybrid.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(scores_of(again), scores_of(hybrid))
    assert again.weight == 0.3 and getattr(again.model, "optimizer", None) is None
    np.testing.assert_array_equal(np.asarray(again.recommend(HISTORIES, 3)[0]), np.asarray(items))
    assert type(again).from_config(again.get_config()).get_config() == again.get_config()
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        assert b"compile_config" not in archive.read("config.json").replace(b'"compile_config": {}', b"")


def test_padding_changes_no_score_and_column_0_never_wins(parts):
    hybrid = Hybrid(*parts, 0.3)
    padded = np.pad(HISTORIES, [(0, 0), (5, 0)])
    np.testing.assert_allclose(scores_of(hybrid, padded), scores_of(hybrid), rtol=1e-5)
    assert (scores_of(hybrid)[:, 0] == -np.inf).all()
    items, scores = map(np.asarray, hybrid.recommend(HISTORIES, NUM_ITEMS))
    assert (items[np.isfinite(scores)] > 0).all()


def test_a_later_adapt_is_seen_by_what_was_compiled_before(parts, split, make_split):
    cooccurrence = ItemCooccurrence(NUM_ITEMS)
    hybrid = Hybrid(parts[0], cooccurrence, 1.0)
    hybrid.compile()
    before = evaluate(hybrid, split, "test"), hybrid.predict({"item_ids": HISTORIES}, verbose=0)
    hybrid.adapt(split)
    assert not np.array_equal(hybrid.predict({"item_ids": HISTORIES}, verbose=0), before[1])
    assert evaluate(hybrid, split, "test") != before[0]


def test_there_is_nothing_to_fit(parts):
    hybrid = Hybrid(*parts, 0.3)
    hybrid.compile()
    assert hybrid.trainable_variables == []
    with pytest.raises(InputError, match="nothing to fit"):
        hybrid.train_on_batch({"item_ids": HISTORIES}, np.ones((4, 1), np.int32))


def test_refused_arguments(parts):
    with pytest.raises(
        InputError, match=r"^`weight` should be between 0 and 1\. Received: `weight` = 1\.5\.$"
    ):
        Hybrid(*parts, 1.5)
    with pytest.raises(InputError, match=r"`cooccurrence` should be over the model's 9 items\. .* = 5\.$"):
        Hybrid(parts[0], ItemCooccurrence(5))


# ---- the command ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def plain_run(cyclic_log, tmp_path_factory):
    """A model that takes little to build, as the commands below do again and again; it knows no order."""
    out = tmp_path_factory.mktemp("plain") / "run"
    options = ["--model", "bpr_mf", "--max-length", "8", "--epochs", "2", "--set", "hidden_dim=8"]
    assert cli.main(["train", "--data", str(cyclic_log), *options, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="module")
def hybrid_run(plain_run):
    out = plain_run.with_name("hybrid")
    assert cli.main(["hybrid", str(plain_run), "--out", str(out)]) == 0
    return out


def test_the_run_folder_is_read_by_evaluate_and_recommend(capsys, hybrid_run, plain_run):
    report, alone = (json.loads((run / "metrics.json").read_text()) for run in (hybrid_run, plain_run))
    assert report["model"] == "hybrid:bpr_mf" and report["hybrid"]["weight"] in mixing.WEIGHTS
    assert report["baselines"]["bpr_mf"]["test"] == alone["test"]
    assert report["config"] == alone["config"] | {"hybrid": True}
    assert report["seconds"] > alone["seconds"]
    run = load_run(hybrid_run)
    assert isinstance(run.model, Hybrid) and run.model.weight == report["hybrid"]["weight"]
    assert evaluate(run.model, leave_one_out(run.log), "test") == report["test"]
    capsys.readouterr()
    assert cli.main(["evaluate", str(hybrid_run)]) == 0
    assert "Hybrid of BPR-MF" in " ".join(capsys.readouterr().out.split())
    assert cli.main(["recommend", str(hybrid_run), "--history", "i3,i4,i5", "--k", "1"]) == 0
    best, _ = run.model.recommend([run.log.item_indices(["i3", "i4", "i5"])], k=1)
    assert f" {run.log.raw_items(best[0])[0]} " in capsys.readouterr().out
    assert build_config(read_config_file(hybrid_run / "config.yaml")).training.hybrid


def test_train_mixes_in_one_go(cyclic_log, tmp_path):
    options = ["--model", "bpr_mf", "--epochs", "1", "--set", "hidden_dim=8", "hybrid=true"]
    assert cli.main(["train", "--data", str(cyclic_log), *options, "--out", str(tmp_path / "run")]) == 0
    report = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert report["model"] == "hybrid:bpr_mf" and "bpr_mf" in report["baselines"]
    assert isinstance(load_run(tmp_path / "run").model, Hybrid)
    assert (tmp_path / "run" / "history.csv").is_file()


@pytest.mark.parametrize("case", ["hybrid", "counted", "itself", "none"])
def test_the_command_refuses(capsys, hybrid_run, counted_run, plain_run, tmp_path, case):
    runs = {"hybrid": hybrid_run, "counted": counted_run, "itself": plain_run, "none": tmp_path / "none"}
    run = runs[case]
    out = run if case == "itself" else tmp_path / "out"
    capsys.readouterr()
    assert cli.main(["hybrid", str(run), "--out", str(out), "--overwrite"]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(run) in line
    assert ("`out`" if case == "itself" else "`run`") in line
    assert not (tmp_path / "out").exists() and (plain_run / "model.keras").is_file()


def test_a_model_without_training_is_not_mixed(capsys, cyclic_log, tmp_path):
    options = ["--model", "pop", "--set", "hybrid=true", "--out", str(tmp_path / "run")]
    assert cli.main(["train", "--data", str(cyclic_log), *options]) == 2
    assert "`model`" in capsys.readouterr().err and not (tmp_path / "run").exists()
    assert not Pop(3).learns()
