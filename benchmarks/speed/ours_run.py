"""Times our training, full ranking and top-10 on a log: `python -m benchmarks.speed.ours_run`.

What it writes has the keys of the peers' scripts, and a few that only we have.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl

import metasgcl_tf
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.models import MODELS, SequentialRecommender
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam

WARM_UP = 40  # steps: until the graph has been traced for batches of any length


class StepClock(keras.callbacks.Callback):
    """Times the steps of `fit` after the warm-up, and stops it when the time is up."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds, self.steps, self.losses = seconds, 0, []

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Counts a step."""
        self.losses.append(float(logs["loss"]))  # waits for the step
        now = time.perf_counter()
        if len(self.losses) == WARM_UP:
            self.begin = now
        elif len(self.losses) > WARM_UP:
            self.steps, self.elapsed = self.steps + 1, now - self.begin
            self.model.stop_training = self.elapsed >= self.seconds


def read_log(path: Path) -> InteractionLog:
    """The log that every contender gets: dense items, users one after another."""
    arrays = np.load(path)
    users, items = range(len(arrays["offsets"]) - 1), range(1, int(arrays["items"].max()) + 1)
    return InteractionLog(
        arrays["items"], arrays["offsets"], pl.Series("user", users), pl.Series("item", items), counts={}
    )


def train(model: SequentialRecommender, split: Split, recipe: Callable, settings: dict) -> dict[str, Any]:
    """Targets a second of `fit`, and what the data pipeline alone would reach."""
    sizes = {"max_length": model.max_length, "batch_size": settings["batch_size"]}
    epoch = recipe(split, **sizes)
    begin, targets = time.perf_counter(), 0
    for _, wanted, _ in epoch:
        targets += int(np.count_nonzero(wanted))
    pipeline = targets / (time.perf_counter() - begin)

    clock = StepClock(settings["train_seconds"])
    model.fit(epoch.repeat(), steps_per_epoch=10**9, callbacks=[clock], shuffle=False, verbose=0)
    steps = int(epoch.cardinality())
    return {
        "targets_per_second": clock.steps * targets / steps / clock.elapsed,
        "targets_per_epoch": targets,
        "seconds_per_epoch": clock.elapsed / clock.steps * steps,
        "steps_timed": clock.steps,
        "final_loss": clock.losses[-1],
        "pipeline_targets_per_second": pipeline,
    }


def peak_memory_mb() -> float:
    """The most memory this process has held, in MB."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in each]
    return int(line.split()[1]) / 1024


def evaluation_seconds(model: SequentialRecommender, split: Split) -> float:
    """Median seconds of a full ranking with its metrics, as after every epoch of a training."""
    batches, durations = pipelines.ranking(split, "test", max_length=model.max_length), []
    for _ in range(3 + 3):  # the first are a warm-up, as for the peers
        begin = time.perf_counter()
        model.evaluate(batches, verbose=0)
        durations.append(time.perf_counter() - begin)
    return statistics.median(durations[3:])


def top10_ms(model: SequentialRecommender, split: Split, users: int, calls: int) -> float:
    """Median milliseconds of `recommend` for the histories of some users, as a caller sees it."""
    histories = np.zeros((users, model.max_length), np.int32)
    for row, user in enumerate(split.evaluated[:users]):
        newest = split.log.history(user)[-model.max_length :]
        histories[row, -len(newest) :] = newest
    durations = []
    for _ in range(5 + calls):
        begin = time.perf_counter()
        np.asarray(model.recommend(histories, 10)[0])
        durations.append(time.perf_counter() - begin)
    return 1000 * statistics.median(durations[5:])


def measure(data: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """Everything about one contender."""
    split = leave_one_out(read_log(data))
    keras.utils.set_random_seed(1)
    sizes = ("max_length", "hidden_dim", "num_layers", "num_heads", "dropout")
    options = {name: settings[name] for name in sizes} | settings.get("options", {})
    model = MODELS[settings["model"]](split.log.num_items, **options)
    rates = [RowWiseAdam(settings["learning_rate"]) for _ in range(2)]
    model.compile(PairOptimizer(*rates) if getattr(model, "two_step", False) else rates[0])
    recipe = pipelines.every_prefix if settings["every_prefix"] else pipelines.next_item
    result = {"name": settings["name"], "version": metasgcl_tf.__version__}
    result |= train(model, split, recipe, settings) | {"peak_memory_mb": peak_memory_mb()}
    if settings["eval_users"]:
        result["evaluation_users_per_second"] = len(split.evaluated) / evaluation_seconds(model, split)
        result |= {
            "top10_ms_1": top10_ms(model, split, 1, 50),
            "top10_ms_256": top10_ms(model, split, 256, 20),
        }
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    found = measure(arguments.data, arguments.settings)
    arguments.out.write_text(json.dumps(found), encoding="utf-8")
