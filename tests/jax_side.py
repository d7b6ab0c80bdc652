"""What `test_jax_backend.py` runs with KERAS_BACKEND=jax, and the same steps for the other side.

`python jax_side.py FOLDER`: reads the models that TensorFlow saved there, trains and scores them, and writes
what came out.
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from keras import ops

from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.evaluation import evaluate
from metasgcl_tf.models import MODELS

NUM_ITEMS, LENGTH, BATCH, STEPS = 30, 6, 8, 20
SMALL = {"hidden_dim": 8, "num_layers": 1, "num_heads": 2, "dropout": 0.0}
TRAINED = {
    "meta_sgcl": SMALL | {"kl_warmup_steps": 10},
    "sasrec": SMALL,
}
UNTRAINED = ("item_cooccurrence", "pop")


def batches():
    """20 batches of walks around a cycle of all items, left padded, and their next items."""
    rng = np.random.default_rng(0)
    for _ in range(STEPS):
        items = (rng.integers(0, NUM_ITEMS, (BATCH, 1)) + np.arange(LENGTH + 1)) % NUM_ITEMS + 1
        items[np.arange(LENGTH + 1) < rng.integers(0, LENGTH, (BATCH, 1))] = 0
        inputs, targets = items[:, :-1], np.where(items[:, :-1] > 0, items[:, 1:], 0)
        weights = np.full(targets.shape, 1 / np.count_nonzero(targets), np.float32)
        yield {"item_ids": inputs.astype(np.int32)}, targets.astype(np.int32), weights


HISTORIES = np.array([[0, 0, 0, 1, 2, 3], [5, 6, 7, 8, 9, 10]], np.int32)


def without_chance(model):
    """The model with the same noise at every step, whatever the backend draws."""
    noise = np.random.default_rng(1).normal(size=(2, 1, LENGTH, SMALL["hidden_dim"])).astype(np.float32)
    views = {"number": 1}

    def sample(mean, log_variance):
        views["number"] = 1 - views["number"]
        return mean + ops.exp(0.5 * log_variance) * noise[views["number"]]

    model.sample = sample
    return model


def losses_of(model):
    """The logged losses of each training step."""
    return [model.train_on_batch(*batch, return_dict=True) for batch in batches()]


def scores_of(model):
    return ops.convert_to_numpy(model.score_items({"item_ids": HISTORIES}))


def evaluations():
    """Full ranking of what needs no training, on a small generated log."""
    split = leave_one_out(load("synthetic"))
    reports = {}
    for name in UNTRAINED:
        model = MODELS[name](split.log.num_items)
        model.adapt(split)
        model.compile()
        reports[name] = evaluate(model, split, "test")["masked"]
    return reports


def main(folder):
    found = {"backend": keras.backend.backend(), "losses": {}, "scores": {}, "sampled": {}}
    for name in TRAINED:
        model = keras.models.load_model(folder / f"{name}-tensorflow.keras")
        found["scores"][name] = scores_of(model)[:, 1:].tolist()
        items, _ = model.recommend(HISTORIES, 5)
        found.setdefault("items", {})[name] = ops.convert_to_numpy(items).tolist()
        found["losses"][name] = losses_of(without_chance(model))
        model.save(folder / f"{name}-jax.keras")
        np.save(folder / f"{name}-jax.npy", scores_of(model))
    keras.utils.set_random_seed(1)
    for loss in ("sampled_softmax", "gbce"):
        model = MODELS["sasrec"](NUM_ITEMS, LENGTH, item_loss=loss, num_negatives=16, **SMALL)
        model.compile(keras.optimizers.Adam(0.01))
        found["sampled"][loss] = losses_of(model)
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = MODELS["meta_sgcl"](NUM_ITEMS, LENGTH, **SMALL)
    model.compile(keras.optimizers.Adam(0.01))
    found["bfloat16"] = losses_of(model)
    keras.config.set_dtype_policy("float32")
    found["evaluations"] = evaluations()
    as_number = {"default": float}
    (folder / "jax.json").write_text(json.dumps(found, **as_number), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
