"""Where the time goes in training and in full ranking: `python -m benchmarks.speed.profile_run --data LOG`.

Writes `benchmarks/results/speed/profile.json`: milliseconds that operations took, summed over all threads.
"""

import argparse
import collections
import itertools
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path

import tensorflow as tf
from tensorflow.tsl.profiler.protobuf import xplane_pb2

from benchmarks.speed.__main__ import SETTINGS
from benchmarks.speed.report import RESULTS
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.models import MetaSGCL, SequentialRecommender
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam
from metasgcl_tf.provenance import made_by

STEPS = 20


def group_of(name: str, op: str) -> str:
    """What an operation is there for."""
    if "MatMul" in op:
        return "products with the catalogue" if re.search(r"item_loss|map/while", name) else "other products"
    if op.startswith("StatelessRandom"):
        return "random numbers"
    return "optimizer" if op.startswith("ResourceApply") else "everything else"


def milliseconds(work: Callable[[], None]) -> dict[str, float]:
    """Time of the operations of each group, after a warm-up."""
    work(), work()
    with tempfile.TemporaryDirectory() as folder:
        tf.profiler.experimental.start(folder)
        work()
        tf.profiler.experimental.stop()
        (path,) = Path(folder).rglob("*.xplane.pb")
        space = xplane_pb2.XSpace.FromString(path.read_bytes())
    found: dict[str, float] = collections.defaultdict(float)
    for plane in space.planes:
        for event in itertools.chain.from_iterable(line.events for line in plane.lines):
            operation = re.fullmatch(
                r"([^:\s]+):([A-Za-z]\w*|_\w+)", plane.event_metadata[event.metadata_id].name
            )
            if plane.name.startswith("/host:CPU") and operation:
                found[group_of(*operation.groups())] += event.duration_ps / 1e9
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def training(model: SequentialRecommender, split: Split) -> Callable[[], None]:
    """A few steps on every prefix."""
    sizes = {"max_length": SETTINGS["max_length"], "batch_size": SETTINGS["batch_size"]}
    batches = list(itertools.islice(pipelines.every_prefix(split, **sizes, seed=1), STEPS))
    step = tf.function(model.train_on, reduce_retracing=True)
    return lambda: [step(batch) for batch in batches] and None


def ranking(model: SequentialRecommender, split: Split) -> Callable[[], None]:
    """Every user's test item."""
    batches = list(pipelines.ranking(split, "test", max_length=SETTINGS["max_length"]))
    step = tf.function(model.test_on, reduce_retracing=True)
    return lambda: [step(batch) for batch in batches] and None


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    arguments = parser.parse_args()
    split = leave_one_out(load(arguments.data))
    sizes = ("max_length", "hidden_dim", "num_layers", "num_heads", "dropout")
    model = MetaSGCL(split.log.num_items, **{name: SETTINGS[name] for name in sizes})
    model.compile(PairOptimizer(RowWiseAdam(), RowWiseAdam()))
    found = {
        **made_by(),
        f"training, every prefix, {STEPS} steps": milliseconds(training(model, split)),
        "full ranking": milliseconds(ranking(model, split)),
    }
    (RESULTS / "profile.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
