"""`metasgcl compare`: trains what has no result yet, each run in a process of its own, and ranks them all.

In a process of its own because TensorFlow keeps what it has allocated, so that a long loop only grows, and
because a run that is killed for lack of memory then takes nothing else with it.
"""

import contextlib
import math
import os
import statistics
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from metasgcl_tf.config import warn_of_defaults
from metasgcl_tf.datasets.named import check_exists
from metasgcl_tf.files import writable
from metasgcl_tf.interruption import InterruptedTraining, sigterm_raised
from metasgcl_tf.models import MODELS
from metasgcl_tf.names import HYBRID
from metasgcl_tf.provenance import made_by
from metasgcl_tf.reports.leaderboard import Entry, leaderboard
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.run_plan import PlannedRun, check_finished, plan

ALL = "all"
SECONDS_TO_STOP = 60


def compare(
    names: Sequence[str],
    seeds: Sequence[int],
    given: dict[str, Any],
    out: str | Path,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any] | None:
    """Trains every model with every seed, but for what is finished, and compares what there is.

    Args:
        names: of what to train, see `metasgcl_tf.names`; `["all"]` for every model and the hybrid of the best
            of them on validation. A hybrid brings its model along.
        seeds: of the runs; what has nothing to fit is run once.
        given: configuration keys over the presets; each goes to the models that have it.
        out: the folder of the runs.
        overwrite: replace finished runs of other settings; otherwise they are an error.
        console: where progress goes; by default nowhere.

    Returns:
        The leaderboard, see `metasgcl_tf.reports.leaderboard`, and what made it; None where no run finished.

    Raises:
        InputError: an unknown name or setting, a finished run of other settings, or a folder that cannot be
            written.
    """
    out, console = Path(out), console or Console(quiet=True)
    everything = list(names) == [ALL]
    runs = plan(list(MODELS) if everything else names, seeds, given, out)
    if not overwrite:
        check_finished(runs)
    check_data(runs)
    with writable(out):
        out.mkdir(parents=True, exist_ok=True)
    failures = train_missing(runs, console)
    if everything and (best := best_on_validation(runs)):
        hybrids = [run for run in plan([HYBRID + best], seeds, given, out) if run.trained is not None]
        if not overwrite:
            check_finished(hybrids)
        failures += train_missing(hybrids, console)
        runs += hybrids
    folders: dict[str, list[Path]] = {}
    for run in runs:
        if run.finished():
            folders.setdefault(run.name, []).append(run.folder)
    if not folders:
        return None
    return made_by() | leaderboard([Entry(*entry) for entry in folders.items()], failures)


def check_data(runs: Sequence[PlannedRun]) -> None:
    """Raises an `InputError` where the log of a run that is not finished does not exist."""
    for log in dict.fromkeys(run.config.data.data for run in runs if not run.finished()):
        check_exists(log)


def train_missing(
    runs: Sequence[PlannedRun], console: Console, until: float = math.inf
) -> list[dict[str, Any]]:
    """Trains what is not finished.

    Args:
        runs: in order; a hybrid after its model.
        console: where progress goes.
        until: by `time.monotonic`: no run begins later, and one that is under way is asked to stop; the next
            call goes on with it.

    Returns:
        What failed and why; not what there was no time for.
    """
    failures = []
    for number, run in enumerate(runs, start=1):
        label = f"{number}/{len(runs)} {run.label}"
        before, reason = run.finished(), None
        if not before and time.monotonic() >= until:
            continue
        if not before and run.trained is not None and not run.trained.finished():
            reason = f"its model, {run.trained.label}, was not trained"
        elif not before:
            if run.trained is None:
                warn_of_defaults(run.config)
            reason = train_apart(run, label, console, until)
        if reason is None:
            run.keep()
            report = run.report()
            took = "was finished before" if before else f"took {report['seconds']:,.0f} s"
            said = f"valid NDCG@10 {report['valid']['masked']['ndcg@10']:.4f}, {took}"
        elif time.monotonic() >= until:
            said = "not finished when the time was up; the next call goes on with it"
        else:
            failures.append({"run": run.label, "name": run.name, "reason": reason})
            said = f"FAILED: {reason}"
        console.print(f"{label}: {said}", highlight=False, markup=False, soft_wrap=True)
    return failures


def train_apart(run: PlannedRun, label: str, console: Console, until: float = math.inf) -> str | None:
    """Makes one run in a process of its own, which prints to a `.log` beside the run folder.

    Args:
        run: to make.
        label: of the progress.
        console: where that goes.
        until: when to stop, see `train_missing`.

    Returns:
        Why it failed, None if it did not.
    """
    command = [sys.executable, "-m", "metasgcl_tf.cli", *run.command]
    streams = {
        "stdin": subprocess.DEVNULL,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    log, line = run.folder.with_name(f"{run.folder.name}.log"), ""
    told = sigterm_raised("interrupted; the same command goes on")
    with log.open("w", encoding="utf-8") as file, console.status(label) as status, told:
        process = subprocess.Popen(command, env=os.environ | {"PYTHONUNBUFFERED": "1"}, **streams)
        timers = stop_at(until, process)
        try:
            for printed in process.stdout:
                file.write(printed)
                line = printed.strip() or line
                status.update(escape(f"{label}: {line}"))
                if line.startswith("metasgcl: warning: "):
                    warnings.warn(f"{label}: {line.removeprefix('metasgcl: warning: ')}", stacklevel=2)
            process.wait()
        except KeyboardInterrupt as interruption:
            if isinstance(interruption, InterruptedTraining):
                process.terminate()  # of Ctrl-C it knows
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS_TO_STOP)  # it writes a checkpoint
            raise
        finally:
            for timer in timers:
                timer.cancel()
            process.kill()  # nothing where it has ended
            process.wait()
    if process.returncode < 0:
        return f"killed by signal {-process.returncode}; see {log}"
    return None if process.returncode == 0 else line.removeprefix("metasgcl: error: ")


def stop_at(until: float, process: subprocess.Popen) -> list[threading.Timer]:
    """Timers that ask a process to stop when the time is up, and kill it where it does not."""
    if until == math.inf:
        return []
    left = max(0.0, until - time.monotonic())
    timers = [
        threading.Timer(left, process.terminate),  # SIGTERM, at which a training writes a checkpoint
        threading.Timer(left + SECONDS_TO_STOP, process.kill),
    ]
    for timer in timers:
        timer.daemon = True
        timer.start()
    return timers


def best_on_validation(runs: Sequence[PlannedRun]) -> str | None:
    """The trained model with the best validation NDCG@10, seen items masked, mean over its seeds."""
    values: dict[str, list[float]] = {}
    for run in runs:
        if MODELS[run.config.training.model].learns() and run.finished():
            ndcg = read_metrics(run.folder)["valid"]["masked"]["ndcg@10"]
            values.setdefault(run.name, []).append(ndcg)
    return max(values, key=lambda name: statistics.fmean(values[name]), default=None)
