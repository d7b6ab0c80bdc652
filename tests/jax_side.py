"""What `test_jax_backend.py` runs with KERAS_BACKEND=jax, and the same steps for the other side.

`python jax_side.py FOLDER NAME...`: reads the models of these names that TensorFlow saved there, trains and
scores them, trains SASRec on each sampled loss, and writes what came out. Also, if named: SASRec by a trial
and by `fit` (`trials`), Meta-SGCL in half precision (`mixed_bfloat16`), Meta-SGCL killed (`resumed`).
"""

import dataclasses
import json
import sys
from pathlib import Path

import keras
import numpy as np
import polars as pl
import pytest
from keras import ops

from metasgcl_tf import checkpoints
from metasgcl_tf.config import build_config
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.evaluation import evaluate
from metasgcl_tf.fitting import fit
from metasgcl_tf.layers.item_loss import SAMPLED
from metasgcl_tf.mixing import ndcg_of_weights
from metasgcl_tf.models import MODELS, Hybrid
from metasgcl_tf.run_folder import HISTORY
from metasgcl_tf.training import build_model, resume, train
from tests.killing import Killed, assert_same_end, kill_after

NUM_ITEMS, NUM_USERS, LENGTH, BATCH, STEPS = 30, 40, 6, 8, 20
SMALL = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0}
TRAINED = {
    "meta_sgcl": SMALL | {"kl_warmup_steps": 10},
    "sasrec": SMALL,
    "vsan": SMALL | {"kl_warmup_steps": 10},
    "acvae": {"hidden_dim": 8, "dropout": 0.0, "kl_warmup_steps": 10},
    "contrast_vae": SMALL | {"kl_warmup_steps": 10},
    "gru4rec": {"hidden_dim": 8, "dropout": 0.0},
    "caser": {"hidden_dim": 8, "dropout": 0.0, "num_users": NUM_USERS},
    "bpr_mf": {"hidden_dim": 8, "num_users": NUM_USERS},
    "bert4rec": SMALL,
    "duorec": SMALL,
}
UNTRAINED = ("item_cooccurrence", "pop")
QUICK = ("meta_sgcl", "pop")  # two steps, and none


def batches():
    """20 batches of walks around a cycle of all items, left padded, and their next items."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        items = (rng.integers(0, NUM_ITEMS, (BATCH, 1)) + np.arange(LENGTH + 1)) % NUM_ITEMS + 1
        items[np.arange(LENGTH + 1) < rng.integers(0, LENGTH, (BATCH, 1))] = 0
        inputs, targets = items[:, :-1], np.where(items[:, :-1] > 0, items[:, 1:], 0)
        weights = np.full(targets.shape, 1 / np.count_nonzero(targets), np.float32)
        item_ids = inputs.astype(np.int32)
        users = rng.integers(0, NUM_USERS, BATCH).astype(np.int32)
        inputs = {"item_ids": item_ids, "same_target_ids": item_ids[::-1], "user_index": users}
        yield inputs, targets.astype(np.int32), weights


HISTORIES = np.array([[0, 0, 0, 1, 2, 3], [5, 6, 7, 8, 9, 10]], np.int32)


def without_chance(model):
    """The model with the same noise, negatives and hidden items at every step, whatever the backend draws."""
    noise = np.random.default_rng(1).normal(size=(2, 1, LENGTH, SMALL["hidden_dim"])).astype(np.float32)
    views = {"number": 1}

    def sample(mean, log_variance):
        views["number"] = 1 - views["number"]
        return mean + ops.exp(0.5 * log_variance) * noise[views["number"]]

    model.sample = sample
    if isinstance(model, MODELS["bpr_mf"]):
        model.draw = lambda shape: ops.broadcast_to(ops.convert_to_tensor([7], "int32"), (*shape, 1))
    model.draw_hidden = lambda targets: ops.logical_and(targets != 0, ops.arange(LENGTH) % 2 == 1)
    return model


def losses_of(model):
    """The logged losses of each training step."""
    own = isinstance(model, MODELS["bert4rec"])  # which learns the items of the window themselves
    return [
        model.train_on_batch(inputs, inputs["item_ids"] if own else targets, weights, return_dict=True)
        for inputs, targets, weights in batches()
    ]


def scores_of(model):
    return ops.convert_to_numpy(model.score_items({"item_ids": HISTORIES}))


def hybrid_of(model):
    """The model mixed with the co-occurrence of the small log of `hybrid_split`."""
    cooccurrence = MODELS["item_cooccurrence"](NUM_ITEMS)
    cooccurrence.adapt(hybrid_split())
    return Hybrid(model, cooccurrence, 0.3)


def hybrid_split():
    """Walks of 8 steps, each by 1 or 2."""
    steps = np.random.default_rng(3).integers(1, 3, (20, 8)).cumsum(axis=1)
    return leave_one_out(
        InteractionLog(
            item_index=(steps % NUM_ITEMS + 1).ravel().astype(np.int32),
            offsets=np.arange(0, 161, 8),
            users=pl.Series("user", range(20)),
            items=pl.Series("item", range(NUM_ITEMS)),
            counts={},
        )
    )


def hybrid_results(hybrid):
    """What it scores and recommends, how it ranks, and NDCG@10 of some weights."""
    weights = ndcg_of_weights(hybrid, hybrid_split(), weights=(0.0, 0.5, 1.0))
    return {
        "scores": scores_of(hybrid)[:, 1:].tolist(),
        "items": ops.convert_to_numpy(hybrid.recommend(HISTORIES, 5)[0]).tolist(),
        "masked": evaluate(hybrid, hybrid_split(), "test")["masked"],
        "weights": {str(weight): value for weight, value in weights.items()},
    }


def evaluation(name):
    """Full ranking of a model that needs no training, for the first 1,000 users of the generated log."""
    log = load("synthetic")
    offsets = log.offsets[:1001]
    first = {"item_index": log.item_index[: offsets[-1]], "offsets": offsets, "users": log.users[:1000]}
    split = leave_one_out(dataclasses.replace(log, **first))
    model = MODELS[name](split.log.num_items)
    model.adapt(split)
    model.compile()
    return evaluate(model, split, "test")["masked"]


def trial_and_fit():
    """Validation NDCG@10 by epoch, masked and kept: of a trial of seeds 1 and 2, and of `fit` with seed 2."""
    from benchmarks.trials import trial  # JAX's own

    small = SMALL | {"max_length": LENGTH, "dropout": 0.2, "batch_size": 6, "learning_rate": 0.01}
    config = build_config({"data": "-", "model": "sasrec"}, small, {"epochs": 3, "seed": 2})
    tried = [found.tolist() for found in trial(config, hybrid_split(), [1, 2])]
    model, history = build_model(config, hybrid_split()), keras.callbacks.History()
    fit(model, hybrid_split(), config, [history])
    fitted = [history.history[f"val_{name}"] for name in ("ndcg@10", "kept_ndcg@10")]
    return {"tried": tried, "fitted": np.transpose(fitted).tolist()}


def kill_and_resume(folder):
    """After how many steps Meta-SGCL, killed in its second epoch, ends where it does if nobody kills it."""
    short = {"epochs": 3, "checkpoint_steps": 2, "batch_size": 12, "learning_rate": 0.01}
    small = SMALL | {"max_length": LENGTH, "dropout": 0.2}
    config = build_config(small, short, {"data": str(folder / "cycle.csv"), "model": "meta_sgcl"})
    whole, run = folder / "whole", folder / "run"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("metasgcl_tf.run_folder.tidy", lambda run: None)
        train(config, whole)
        with pytest.MonkeyPatch.context() as killing, pytest.raises(Killed):
            kill_after(14, killing)
            train(config, run)
        resume(run)
    assert_same_end(whole, run)
    assert (whole / HISTORY).read_text() == (run / HISTORY).read_text()
    return checkpoints.newest(run / checkpoints.FOLDER).notes["step"]


def main(folder, asked):
    found = {"backend": keras.backend.backend(), "losses": {}, "scores": {}, "sampled": {}}
    for name in filter(TRAINED.__contains__, asked):
        model = keras.models.load_model(folder / f"{name}-tensorflow.keras")
        found["scores"][name] = scores_of(model)[:, 1:].tolist()
        items, _ = model.recommend(HISTORIES, 5)
        found.setdefault("items", {})[name] = ops.convert_to_numpy(items).tolist()
        found.setdefault("ranking", {})[name] = evaluate(model, hybrid_split(), "test")
        found["losses"][name] = losses_of(without_chance(model))
        model.save(folder / f"{name}-jax.keras")
        np.save(folder / f"{name}-jax.npy", scores_of(model))
    if "hybrid" in asked:
        found["hybrid"] = hybrid_results(keras.models.load_model(folder / "hybrid-tensorflow.keras"))
    keras.utils.set_random_seed(1)
    for loss in filter(SAMPLED.__contains__, asked):
        model = MODELS["sasrec"](NUM_ITEMS, LENGTH, item_loss=loss, num_negatives=16, **SMALL)
        model.compile(keras.optimizers.Adam(0.01))
        found["sampled"][loss] = losses_of(model)
    found["evaluations"] = {name: evaluation(name) for name in UNTRAINED if name in asked}
    if "trials" in asked:
        found["trials"] = trial_and_fit()
    if "resumed" in asked:
        found["resumed"] = kill_and_resume(folder)
    if "mixed_bfloat16" in asked:
        keras.config.set_dtype_policy("mixed_bfloat16")
        model = MODELS["meta_sgcl"](NUM_ITEMS, LENGTH, **SMALL)
        model.compile(keras.optimizers.Adam(0.01))
        found["mixed_bfloat16"] = losses_of(model)
    as_number = {"default": float}
    (folder / "jax.json").write_text(json.dumps(found, **as_number), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
