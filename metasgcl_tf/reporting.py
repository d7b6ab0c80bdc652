"""`metasgcl report`: the tables and figures of the paper, from runs that are trained where missing."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from metasgcl_tf.comparing import check_data, train_missing
from metasgcl_tf.config import build_config
from metasgcl_tf.errors import require
from metasgcl_tf.experiments import EXPERIMENTS, Row
from metasgcl_tf.files import writable
from metasgcl_tf.item_vectors import look_at
from metasgcl_tf.names import data_name, settings_of
from metasgcl_tf.presets import PRESETS
from metasgcl_tf.reports import paper
from metasgcl_tf.reports.experiment_tables import Result, Section
from metasgcl_tf.run_plan import PlannedRun, check_finished, check_given, planned, seeds_of

PlannedRow = tuple[Row, list[PlannedRun]]
DECIDED = {"data", "model", "variant", "hybrid", "seed"}
SIZES = ("users", "items", "interactions")


def report(
    experiments: Sequence[str],
    data: Sequence[str],
    seeds: Sequence[int],
    given: dict[str, Any],
    out: str | Path,
    *,
    until: float = math.inf,
    overwrite: bool = False,
    train: bool = True,
    console: Console | None = None,
) -> tuple[list[Section], list[dict[str, Any]]]:
    """Trains what experiments of the paper need and nobody has trained yet, and gathers what there is.

    A run that several experiments share is trained once. Its result is kept as `OUT/DATA/RUN.json`, beside
    the folder of the run, and counts as long as it is there.

    Args:
        experiments: keys of `metasgcl_tf.experiments.EXPERIMENTS`.
        data: names or files of logs; a file named like a data set has its preset.
        seeds: of the runs; what has nothing to fit is run once.
        given: configuration keys over the presets, of every run that has them.
        out: the folder.
        until: by `time.monotonic`, when to stop training; see `metasgcl_tf.comparing.train_missing`.
        overwrite: replace results of other settings; otherwise they are an error.
        train: whether to train; otherwise only what is there counts.
        console: where progress goes; by default nowhere.

    Returns:
        A section for each experiment and log, and the runs that failed.

    Raises:
        InputError: a name or setting is wrong, a result is of other settings or of another log, or the folder
            cannot be written.
    """
    out, console = Path(out), console or Console(quiet=True)
    plans = plan_report(experiments, data, seeds, given, out)
    runs = distinct(run for rows in plans.values() for _, of_row in rows for run in of_row)
    if not overwrite:
        check_finished(runs)
    if train:
        check_data(runs)
    for folder in (out, *dict.fromkeys(run.folder.parent for run in runs)):
        with writable(folder):
            folder.mkdir(parents=True, exist_ok=True)
    failures: list[dict[str, Any]] = []
    if train:
        failures = train_missing(runs, console, until)
    else:  # what finished in its folder meanwhile
        for run in filter(PlannedRun.finished, runs):
            run.keep()
    return [section(experiment, name, rows) for (experiment, name), rows in plans.items()], failures


def plan_report(
    experiments: Sequence[str], data: Sequence[str], seeds: Sequence[int], given: dict[str, Any], out: Path
) -> dict[tuple[str, str], list[PlannedRow]]:
    """The rows of each experiment on each log, `(experiment, name of the log)`, with their runs, checked.

    Raises:
        InputError: see `report`.
    """
    for key in DECIDED & given.keys():
        require(False, "set", f"without `{key}`, which the experiments and other options decide", given[key])
    names = [data_name(log) for log in data]
    require(len(set(names)) == len(names), "data", "logs of different names", ",".join(data))
    plans = {
        (experiment, name): planned_rows(experiment, of_data(log, given), seeds, out / name)
        for log, name in zip(data, names, strict=True)
        for experiment in experiments
    }
    rows = [row for of_one in plans.values() for row in of_one]
    check_given(given, list(dict.fromkeys(settings_of(row.name)["model"] for row, _ in rows)))
    for _, runs in rows:
        for run in runs:
            _ = run.config
    return plans


def of_data(log: str, given: dict[str, Any]) -> dict[str, Any]:
    """The settings with those that name a log; a file's preset is the one of its name, if there is one."""
    name = data_name(log)
    preset = {"preset": name} if name in PRESETS and name != log else {}
    return preset | given | {"data": log}


def planned_rows(experiment: str, given: dict[str, Any], seeds: Sequence[int], out: Path) -> list[PlannedRow]:
    """The rows of an experiment on one log with a run for each seed."""

    def base(name: str) -> dict[str, Any]:
        return build_config(planned(name, None, given, out).settings).flat()

    rows = []
    for row in EXPERIMENTS[experiment].rows(base):
        own = base(row.name)
        # What a setting is anyway makes no run of its own.
        changed = {key: value for key, value in row.settings.items() if own[key] != value}
        called = "".join(f"-{key}-{value}" for key, value in changed.items())
        runs = [
            planned(row.name, seed, given | changed, out, called=called, kept=True)
            for seed in seeds_of(row.name, seeds)
        ]
        rows.append((row, runs))
    return rows


def distinct(runs: Any) -> list[PlannedRun]:
    """Each run once, the model of a hybrid before it."""
    found: dict[Path, PlannedRun] = {}
    for run in runs:
        for each in (run.trained, run):
            if each is not None:
                found.setdefault(each.folder, each)
    return list(found.values())


def section(experiment: str, name: str, rows: Sequence[PlannedRow]) -> Section:
    """What there is of one experiment on one log.

    Raises:
        InputError: its runs are of different logs.
    """
    found = [[report for run in runs if (report := run.report())] for _, runs in rows]
    counts = [{size: report["counts"].get(size) for size in SIZES} for each in found for report in each]
    for other in counts:
        if other != counts[0]:
            rule = "results of one log for each data set"
            require(False, "out", rule, f"{name}: {counts[0]['interactions']} and {other['interactions']}")
    dataset = paper.dataset_of(counts[0]) if counts else None
    results = [
        Result(row, len(runs), reports, paper.row_of(dataset, experiment, row.paper))
        for (row, runs), reports in zip(rows, found, strict=True)
    ]
    looks = [look_at(run) for _, runs in rows for run in runs] if experiment == "fig6" else []
    return Section(experiment, name, results, [look for look in looks if look])
