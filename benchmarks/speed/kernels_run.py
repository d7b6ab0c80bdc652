"""Times matrix products and losses over the catalogue: `python -m benchmarks.speed.kernels_run`."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from benchmarks.speed.ours_run import peak_memory_mb
from metasgcl_tf import losses
from metasgcl_tf.models import SASRec
from metasgcl_tf.optimizers import RowWiseAdam

DIM, NUM_ITEMS, TARGETS = 64, 11_924, 2_000


def milliseconds(functions: dict[str, Callable[[], Any]], calls: int) -> dict[str, float]:
    """Median time of each function; their calls take turns, so that a busy moment hits all alike."""
    durations: dict[str, list[float]] = {name: [] for name in functions}
    for function in functions.values():
        function(), function()
    for _ in range(calls):
        for name, function in functions.items():
            begin = time.perf_counter()
            keras.tree.map_structure(np.asarray, function())
            durations[name].append(1000 * (time.perf_counter() - begin))
    return {name: statistics.median(values) for name, values in durations.items()}


def softmax() -> dict[str, float]:
    """Catalogue softmax forward and backward beside its three bare products, and the machine's rates."""
    rng = np.random.default_rng(0)
    square = tf.constant(rng.normal(size=(2048, 2048)), tf.float32)
    states = tf.constant(rng.normal(size=(TARGETS, DIM)), tf.float32)
    table = tf.constant(rng.normal(size=(NUM_ITEMS + 1, DIM)) * 0.02, tf.float32)
    targets = tf.constant(rng.integers(1, NUM_ITEMS + 1, TARGETS), tf.int32)
    weights = tf.fill([TARGETS], 1 / TARGETS)
    probabilities = tf.nn.softmax(states @ tf.transpose(table[1:]))

    def bare_products() -> tuple:
        scores = tf.matmul(states, table[1:], transpose_b=True)
        d_states = tf.matmul(probabilities, table[1:])
        d_table = tf.matmul(probabilities, states, transpose_a=True)
        return scores[0, 0], d_states[0, 0], d_table[0, 0]

    def with_gradients(loss: Callable[[], tf.Tensor]) -> Callable[[], tuple]:
        def run() -> tuple:
            with tf.GradientTape() as tape:
                tape.watch([states, table])
                value = loss()
            d_states, d_table = tape.gradient(value, [states, table])
            return value, d_states[0, 0], d_table[1, 0]

        return run

    def plain() -> tf.Tensor:
        logits = tf.matmul(states, table[1:], transpose_b=True)
        return tf.reduce_sum(weights * tf.nn.sparse_softmax_cross_entropy_with_logits(targets - 1, logits))

    def fused() -> tf.Tensor:
        return losses.softmax_cross_entropy(states, table, targets, weights)[0]

    functions = {
        "square_product_ms": lambda: (square @ square)[0, 0],
        "bare_products_ms": bare_products,
        "fused_softmax_ms": with_gradients(fused),
        "plain_softmax_ms": with_gradients(plain),
    }
    found = milliseconds({name: tf.function(each) for name, each in functions.items()}, calls=25)
    flops = 6 * TARGETS * NUM_ITEMS * DIM
    return found | {
        "square_gflop_per_second": 2 * 2048**3 / found["square_product_ms"] / 1e6,
        "softmax_shape_gflop_per_second": flops / found["bare_products_ms"] / 1e6,
        "fused_over_bare": found["fused_softmax_ms"] / found["bare_products_ms"],
        "plain_over_bare": found["plain_softmax_ms"] / found["bare_products_ms"],
    }


def catalogue(num_items: int, item_loss: str, optimizer: str) -> dict[str, Any]:
    """A SASRec step (64 sequences of 20) over a catalogue of this size, and the most memory it took."""
    keras.utils.set_random_seed(1)
    model = SASRec(num_items, 20, dropout=0.1, item_loss=item_loss)
    model.compile(RowWiseAdam() if optimizer == "row_wise" else keras.optimizers.Adam())
    rng = np.random.default_rng(0)
    items = tf.constant(rng.integers(1, num_items + 1, (64, 21)), tf.int32)
    weights = tf.fill((64, 20), 1 / (64 * 20))
    step = tf.function(lambda: model.train_on(({"item_ids": items[:, :-1]}, items[:, 1:], weights)))
    calls = 10 if item_loss != "softmax" or num_items < 10**6 else 3
    found = milliseconds({"step_ms": step}, calls=calls)
    return found | {"peak_memory_mb": peak_memory_mb()}


def xla() -> dict[str, float]:
    """The same SASRec step (48 sequences of 15, V = 11,924) without and with XLA."""
    rng = np.random.default_rng(0)
    items = tf.constant(rng.integers(1, NUM_ITEMS + 1, (48, 16)), tf.int32)
    data = ({"item_ids": items[:, :-1]}, items[:, 1:], tf.fill((48, 15), 1 / (48 * 15)))
    steps = {}
    for jit_compile in (False, True):
        model = SASRec(NUM_ITEMS)
        model.compile(keras.optimizers.Adam(), jit_compile=jit_compile)
        steps["xla_step_ms" if jit_compile else "step_ms"] = tf.function(
            lambda model=model: model.train_on(data), jit_compile=jit_compile
        )
    return milliseconds(steps, calls=10)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    kernel = arguments.settings.pop("kernel")
    found = {"softmax": softmax, "catalogue": catalogue, "xla": xla}[kernel](**arguments.settings)
    arguments.out.write_text(json.dumps(found), encoding="utf-8")
