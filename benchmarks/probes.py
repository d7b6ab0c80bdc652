"""Keeps what a trial of settings found: `python -m benchmarks.probes RUN --verdict TEXT`.

A run folder, or what `python -m benchmarks.trials` wrote of several seeds.
"""

import argparse
import json
from pathlib import Path

import polars as pl

from benchmarks.measured import check_clean
from metasgcl_tf.reports.experiment_runs import name_of_run, over_preset
from metasgcl_tf.reports.markdown import markdown_table, plain
from metasgcl_tf.results import without_folders, without_places
from metasgcl_tf.run_folder import HISTORY, read_config, read_metrics, read_provenance

PROBES = Path(__file__).parent / "results" / "probes.json"
HEAD = ["data", "model", "instead of the preset's", "valid NDCG@10 by epoch", "best", "kept", "verdict"]
SHOWN_EPOCHS = (1, 2, 4, 8, 16, 32, 64)


def probe(run: Path, verdict: str) -> dict:
    """A run, finished or stopped, as the table has it: no test figures, which choose nothing."""
    if run.is_file():
        return json.loads(run.read_text(encoding="utf-8")) | {"verdict": verdict}
    report = read_metrics(run)
    made = report or read_provenance(run)
    config, history = without_places(read_config(run).flat()), pl.read_csv(run / HISTORY)
    return {
        "data": config["data"],
        "config": config,
        "seed": config["seed"],
        "finished": bool(report),
        "valid_ndcg@10": history["val_ndcg@10"].round(6).to_list(),
        "valid_kept_ndcg@10": history["val_kept_ndcg@10"].round(6).to_list(),
        "verdict": verdict,
        "command": without_folders(made["command"]),
        **{key: made[key] for key in ("commit", "machine", "versions")},
    }


def probes_block() -> str:
    """Every probe in a line, by data set and model, the best first."""
    found = json.loads(PROBES.read_text(encoding="utf-8"))
    found.sort(key=lambda each: (each["data"], name_of_run(each), -max(each["valid_ndcg@10"])))
    rows = []
    for each in found:
        check_clean(PROBES, each["commit"])
        values = each["valid_ndcg@10"]
        epochs = [epoch for epoch in SHOWN_EPOCHS if epoch < len(values)] + [len(values)]
        stopped = "" if each["finished"] else ", stopped"
        by_epoch = ", ".join(f"{epoch}: {values[epoch - 1]:.4f}" for epoch in epochs) + stopped
        changed = ", ".join(f"{key}={value}" for key, value in over_preset(each).items()) or "-"
        seeds, best_at = each.get("seeds", [1]), values.index(max(values))
        best = f"{values[best_at]:.4f}" + (f" ({len(seeds)} seeds)" if len(seeds) > 1 else "")
        # Early trials kept nothing of the other protocol.
        of_kept = each.get("valid_kept_ndcg@10")
        kept = f"{of_kept[best_at]:.4f}" if of_kept else ""
        rows.append(
            [each["data"], name_of_run(each), plain(changed), by_epoch, best, kept, plain(each["verdict"])]
        )
    return markdown_table(HEAD, rows, len(HEAD)) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.probes", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run, or file of a trial")
    parser.add_argument("--verdict", required=True, help="what follows from it")
    arguments = parser.parse_args()
    new = probe(arguments.run, arguments.verdict)
    check_clean(arguments.run, new["commit"])
    kept = json.loads(PROBES.read_text(encoding="utf-8")) if PROBES.exists() else []
    same = (new["config"], new.get("seeds"))
    others = [each for each in kept if (each["config"], each.get("seeds")) != same]
    PROBES.write_text(json.dumps([*others, new], indent=1) + "\n", encoding="utf-8")
    print(PROBES)
