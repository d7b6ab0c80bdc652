"""From a trained run to its hybrid: co-occurrence counted, weight chosen on validation, a run folder."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from metasgcl_tf import backend, metrics, run_folder
from metasgcl_tf.config import RunConfig
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Part, Split, leave_one_out
from metasgcl_tf.errors import require
from metasgcl_tf.files import held, save_whole
from metasgcl_tf.models import Hybrid, ItemCooccurrence, SequentialRecommender
from metasgcl_tf.models.hybrid import mixed
from metasgcl_tf.presets import preset_values
from metasgcl_tf.provenance import made_by
from metasgcl_tf.run_report import write_report

Tensor = Any

# What the best weight is chosen from; co-occurrence scores are so peaked that little of them does much.
WEIGHTS = (0.0, 0.01, 0.02, 0.03, 0.04, *(step / 20 for step in range(1, 21)))


def mix_run(
    source: str | Path, out: str | Path, *, overwrite: bool = False, console: Console | None = None
) -> dict[str, Any]:
    """Mixes the model of a run with co-occurrence and writes a run folder of the hybrid.

    The co-occurrence takes the preset of the run's data set.

    Args:
        source: a folder that `metasgcl train` wrote.
        out: the new run folder.
        overwrite: replace the folder if it exists; otherwise that is an error.
        console: where progress goes; by default nowhere.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: `source` is no run of a trained model, or `out` cannot be written.
    """
    started, provenance = time.perf_counter(), made_by()
    source, out = Path(source), Path(out)
    run = run_folder.load_run(source, compile=False)
    training = run.config.training
    require(not training.hybrid and run.model.learns(), "run", "one of a trained model alone", str(source))
    run_folder.check_apart(out, source, overwrite)
    config = dataclasses.replace(run.config, training=dataclasses.replace(training, hybrid=True))
    split = leave_one_out(run.log)
    hybrid, found = mix(run.model, split, config, console)
    with held(out, "trains"):
        run_folder.start(out, config, run.log)
        save_whole(hybrid, out / run_folder.MODEL)
        seconds = run_folder.read_metrics(source).get("seconds", 0.0) + time.perf_counter() - started
        return write_report(out, hybrid, split, config, provenance, seconds, hybrid=found)


def mix(
    model: SequentialRecommender, split: Split, config: RunConfig, console: Console | None = None
) -> tuple[Hybrid, dict[str, Any]]:
    """The hybrid of a trained model with the weight that ranks the validation items best.

    Returns:
        `(hybrid, {"weight": ..., "valid_ndcg@10": {weight: value, ...}})`, seen items masked.
    """
    options = preset_values(config.data.preset or config.data.data, "item_cooccurrence")
    cooccurrence = ItemCooccurrence(split.log.num_items, **options)
    cooccurrence.adapt(config.learned_from(split))
    values = ndcg_of_weights(Hybrid(model, cooccurrence), split)
    weight = best_weight(values)
    if console is not None:
        console.print(
            f"co-occurrence weight {weight:g}: valid NDCG@10 {values[weight]:.4f}, without {values[0.0]:.4f}",
            highlight=False,
            soft_wrap=True,
        )
    found = {
        "weight": weight,
        "cooccurrence": options,
        "valid_ndcg@10": {str(w): v for w, v in values.items()},
    }
    return Hybrid(model, cooccurrence, weight), found


def best_weight(values: dict[float, float]) -> float:
    """The weight with the best value; of equal ones the smallest, which is nearest to the trained model."""
    return max(sorted(values), key=values.__getitem__)


def ndcg_of_weights(
    hybrid: Hybrid, split: Split, part: Part = "valid", weights: tuple[float, ...] = WEIGHTS
) -> dict[float, float]:
    """NDCG@10, seen items masked, of every weight; the hybrid's two models score each user once.

    Args:
        hybrid: whose own weight does not matter.
        split: the log and its parts.
        part: `"valid"` or `"test"`.
        weights: to try.
    """

    def ranks(probabilities: Tensor, shares: Tensor, weight: Tensor, targets: Tensor, seen: Tensor) -> Tensor:
        return metrics.target_ranks(mixed(probabilities, shares, weight), targets, seen)[0]

    def both_models(inputs: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        found = hybrid(inputs)
        return found["probabilities"], found["shares"]

    # A call a weight: in one graph, TensorFlow would hold the scores of all of them at once.
    ranks = backend.compiled(ranks, [])
    if not backend.static_shapes():
        both_models = backend.compiled(both_models, hybrid.variables)
    sums = np.zeros(len(weights))
    for inputs, targets in pipelines.ranking(split, part, max_length=hybrid.max_length):
        targets, inputs = np.asarray(targets), {name: np.asarray(value) for name, value in inputs.items()}
        scores = both_models(inputs)
        for place, weight in enumerate(weights):
            found = ranks(*scores, np.asarray(weight, np.float32), targets, inputs["seen"])
            sums[place] += np.asarray(metrics.ndcg(found, 10)).sum(dtype=np.float64)
    return dict(zip(weights, (sums / len(split.evaluated)).tolist(), strict=True))
