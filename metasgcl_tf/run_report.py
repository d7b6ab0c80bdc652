"""What a run achieved: its numbers beside those of what needs no training, as `metrics.json`."""

from pathlib import Path
from typing import Any

from metasgcl_tf import run_folder
from metasgcl_tf.config import RunConfig
from metasgcl_tf.data.appending import APPENDED
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.evaluation import PROTOCOL, best_possible, evaluate, held_out_ranks, report_of
from metasgcl_tf.models import MODELS, Hybrid, SequentialRecommender
from metasgcl_tf.names import name_of
from metasgcl_tf.presets import preset_values

BASELINES = ("pop", "item_cooccurrence")
PARTS = ("valid", "test")


def write_report(
    run: Path,
    model: SequentialRecommender,
    split: Split,
    config: RunConfig,
    provenance: dict[str, Any],
    seconds: float,
    **more: Any,
) -> dict[str, Any]:
    """Evaluates a model on both held-out items; writes `ranks.parquet` (test) and, last, `metrics.json`.

    Args:
        run: the run folder.
        model: as it was trained.
        split: the log and its parts.
        config: how it was trained.
        provenance: of `metasgcl_tf.provenance.made_by`, taken before the training.
        seconds: how long that took.
        **more: what else the report should hold.

    Returns:
        What `metrics.json` holds.
    """
    test_ranks = held_out_ranks(model, split, "test")
    report = {
        "dataset": config.data.data,
        "model": name_of(config.training),
        "seed": config.training.seed,
        **provenance,
        "seconds": round(seconds, 1),
        "protocol": PROTOCOL,
        "parameters": model.count_params(),
        "config": config.flat(),
        **more,
        "counts": split.counts(),
        "valid": evaluate(model, split, "valid"),
        "test": report_of(test_ranks),
        "baselines": baselines(split, config),
    }
    if isinstance(model, Hybrid):
        alone = name_of(config.training).removeprefix("hybrid:")
        report["baselines"][alone] = {part: evaluate(model.model, split, part) for part in PARTS}
    # The generator's probabilities hold for its own whole histories only.
    changed = split.log.counts.get("dropped_by_k_core") or split.log.counts.get(APPENDED)
    if config.data.data == "synthetic" and not changed:
        report["best_possible"] = {part: best_possible(split, part) for part in PARTS}
    run_folder.write_ranks(run, test_ranks)
    run_folder.write_metrics(run, report)
    return report


def baselines(split: Split, config: RunConfig) -> dict[str, Any]:
    """What needs no training, on the same split, to stand beside the model: name -> valid and test."""
    results = {}
    for name in BASELINES:
        if name == config.training.model:
            continue
        options = preset_values(config.data.preset or config.data.data, name)
        model = MODELS[name](split.log.num_items, **options)
        model.adapt(config.learned_from(split))
        results[name] = {"config": options} | {part: evaluate(model, split, part) for part in PARTS}
    return results
