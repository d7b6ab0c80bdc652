"""`metasgcl tune`: the main path from a search to its best configuration, trained."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.errors import require
from metasgcl_tf.files import held
from metasgcl_tf.provenance import made_by
from metasgcl_tf.run_folder import MODEL
from metasgcl_tf.training import check_trainable, load_log
from metasgcl_tf.tuning.best import train_best
from metasgcl_tf.tuning.leases import LOST_AFTER
from metasgcl_tf.tuning.oracles import build_oracle
from metasgcl_tf.tuning.runner import TrialRunner
from metasgcl_tf.tuning.search import Search, check_same, read_search, write_search
from metasgcl_tf.tuning.trials import TRIALS


def tune(
    search: Search,
    folder: str | Path,
    *,
    trials: int = 20,
    max_seconds: float | None = None,
    lost_after: float = LOST_AFTER,
    console: Console | None = None,
) -> dict[str, Any]:
    """Searches, or goes on with the search of a folder, and trains the best configuration.

    The folder holds `search.json` (what was asked), `trials/` (each trial as JSON), `best.yaml` (what
    `metasgcl train --config` takes) and `best/`, the run folder of that configuration, trained on the whole
    budget.

    Args:
        search: what is searched.
        folder: of the search.
        trials: how many, failed ones included.
        max_seconds: no trial begins that would end later, at the pace so far; training the best is extra.
        lost_after: seconds after which a chief gives up a worker that is silent.
        console: where progress goes; by default nowhere.

    Returns:
        What `metrics.json` of the best holds.

    Raises:
        InputError: unusable data, space or folder, a folder of another search, or no trial that finished.
    """
    folder, console, search = Path(folder), console or Console(quiet=True), search.checked()
    require(trials >= 1, "trials", "at least 1", trials)
    if before := read_search(folder):
        check_same(search, before, folder)
    split = leave_one_out(load_log(search.config))
    check_trainable(split)
    console.print(split.describe(), highlight=False, soft_wrap=True)
    with held(folder, "searches"):
        asked = {"trials": trials, "max_seconds": max_seconds, "counts": split.counts()}
        now = made_by()
        began = {name: before[name] for name in now if name in before}  # a report tells how it began
        write_search(folder, search, asked | now | began)
        run_trials(search, split, folder, trials, console, max_seconds=max_seconds, lost_after=lost_after)
        return train_best(search, folder, console)


def run_trials(
    search: Search, split: Split, folder: Path, trials: int, console: Console, **limits: Any
) -> None:
    """Runs what trials are left; a chief has its workers run them.

    Args:
        search: checked.
        split: the log and its parts.
        folder: of the search.
        trials: how many there are in the end.
        console: gets a line after each trial, a terminal one within it.
        **limits: `max_seconds` and `lost_after`.
    """

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    oracle = build_oracle(search, trials, split.counts(), say=say, **limits)
    runner = TrialRunner(oracle, folder, limits["lost_after"])
    runner.search_made, runner.split = search, split
    if oracle.end_order:
        say(f"{len(oracle.end_order)} of {trials} trials were over before.")
    if not oracle.finished():
        with console.status("starting") as status:
            runner.show = lambda line: status.update(escape(line))
            runner.search()
    if oracle.hopeless():
        say("The first three trials failed, the preset among them, so no more were begun.")
    elif len(oracle.trials) < trials:
        why = "the time is over" if oracle.no_more() else "the space has no more combinations"
        say(f"{len(oracle.trials)} of {trials} trials: {why}.")
    for path in (folder / TRIALS).glob(f"trial_*/{MODEL}"):
        path.unlink()  # Hyperband needs it no more
