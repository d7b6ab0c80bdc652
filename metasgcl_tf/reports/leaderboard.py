"""The leaderboard of a comparison: means over seeds, the paper's figures, and whether the best is better."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from metasgcl_tf import metrics
from metasgcl_tf.errors import InputError
from metasgcl_tf.names import title_of
from metasgcl_tf.reports import paper
from metasgcl_tf.reports.paired_test import FLIPS, sign_flip_p
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN
from metasgcl_tf.run_folder import RANKS, read_metrics

# What it takes to repeat a run.
REPEATING = ("seed", "commit", "command", "versions", "machine", "seconds", "config")


@dataclasses.dataclass(frozen=True)
class Entry:
    """The finished runs of one name, one a seed."""

    name: str
    folders: Sequence[Path]


def leaderboard(entries: Sequence[Entry], failures: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Everything the tables and the plot show, as `leaderboard.json`.

    Args:
        entries: what finished, at least one.
        failures: what did not: `{"name": ..., "seed": ..., "reason": ...}`.

    Raises:
        InputError: the runs are of different logs.
    """
    reports = {entry.name: [read_metrics(folder) for folder in entry.folders] for entry in entries}
    first = next(iter(reports.values()))[0]
    for entry in entries:
        for folder, report in zip(entry.folders, reports[entry.name], strict=True):
            if report["counts"] != first["counts"]:
                sizes = [counts["interactions"] for counts in (report["counts"], first["counts"])]
                raise InputError(
                    f"`out` should hold runs of one log; it has changed since. Received: {folder}, with "
                    "{:,} interactions beside {:,}.".format(*sizes)
                )
    dataset = paper.dataset_of(first["counts"])
    rows = [_row(name, found, dataset) for name, found in reports.items()]
    rows.sort(key=lambda row: -row["valid_ndcg@10"])
    folders = {entry.name: entry.folders for entry in entries}
    best_two = [folders[row["name"]] for row in rows[:2]]
    return {
        "dataset": first["dataset"],
        "counts": first["counts"],
        "protocol": first["protocol"],
        "rows": rows,
        "best_possible": first.get("best_possible"),
        "paired_test": paired_test(rows, *best_two) if len(rows) > 1 else None,
        "failures": list(failures),
    }


def _row(name: str, reports: Sequence[dict[str, Any]], dataset: str | None) -> dict[str, Any]:
    test = {
        protocol: {
            metric: mean_and_deviation([r["test"][protocol][metric] for r in reports]) for metric in SHOWN
        }
        for protocol in PROTOCOLS
    }
    return {
        "name": name,
        "title": title_of(name),
        "seeds": [report["seed"] for report in reports],
        "test": test,
        "valid_ndcg@10": statistics.fmean(r["valid"]["masked"]["ndcg@10"] for r in reports),
        "seconds": statistics.fmean(report["seconds"] for report in reports),
        "parameters": reports[0]["parameters"],
        "paper": paper.figures(dataset, name),
        "runs": [{key: report[key] for key in REPEATING} for report in reports],
    }


def mean_and_deviation(values: Sequence[float]) -> dict[str, float | None]:
    """The mean, and the sample standard deviation: None of one value."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "std": deviation}


def paired_test(rows: Sequence[dict], best: Sequence[Path], second: Sequence[Path]) -> dict[str, Any]:
    """The first against the second row, user by user: test NDCG@10, seen items masked, seeds averaged.

    The rows come in the order of validation, so that the test items did not choose what is tested on them.
    """
    differences = _ndcg_of_users(best) - _ndcg_of_users(second)
    return {
        "best": rows[0]["name"],
        "second": rows[1]["name"],
        "metric": "ndcg@10",
        "seen": "masked",
        "users": len(differences),
        "mean_difference": float(differences.mean()),
        "better_for": int((differences > 0).sum()),
        "worse_for": int((differences < 0).sum()),
        "p": sign_flip_p(differences),
        "flips": FLIPS,
    }


def _ndcg_of_users(folders: Sequence[Path]) -> np.ndarray:
    """`[U]`, the mean over runs; users in the order of the log, which is the same in all of them."""
    ranks = [pl.read_parquet(folder / RANKS)["masked"].to_numpy() for folder in folders]
    return np.mean([np.asarray(metrics.ndcg(each, 10), np.float64) for each in ranks], axis=0)
