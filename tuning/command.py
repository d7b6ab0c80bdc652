"""What `metasgcl tune` does with its options."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from metasgcl_tf.config import build_config
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.names import data_name, file_name, name_of
from metasgcl_tf.reports.tables import results_table
from metasgcl_tf.tuning.best import CONFIG, RUN
from metasgcl_tf.tuning.devices import computes_bfloat16, use_one_gpu
from metasgcl_tf.tuning.distributed import role_of_process
from metasgcl_tf.tuning.leases import LOST_AFTER
from metasgcl_tf.tuning.report import write_report
from metasgcl_tf.tuning.search import Search, read_search
from metasgcl_tf.tuning.searching import tune
from metasgcl_tf.tuning.spaces import build_space
from metasgcl_tf.tuning.working import work


def run(layers: Sequence[dict[str, Any]], options: argparse.Namespace, console: Console) -> None:
    """Runs the command.

    Args:
        layers: configuration keys over the preset, later ones win.
        options: of the command line, see `metasgcl_tf.tuning_arguments`; None where not given.
        console: where everything goes.

    Raises:
        InputError: something given is unusable.
    """
    use_one_gpu()
    lost_after = LOST_AFTER if options.lost_after is None else options.lost_after
    require(lost_after > 0, "lost_after", "above 0 seconds", lost_after)
    with role_of_process(options.role, options.chief):
        if options.role == "worker":
            with tempfile.TemporaryDirectory() as place:
                ran = work(Path(options.out or place), options.data, lost_after, console)
            say(console, f"The chief has no more trials; this worker ran {ran}.")
            return
        folder = Path(options.out or default_folder(layers))
        before = read_search(folder)
        if not options.report_only:
            search = search_of(layers, options, before)
            limits = {
                "trials": before.get("trials", 20) if options.trials is None else options.trials,
                "max_seconds": before.get("max_seconds") if options.max_time is None else options.max_time,
            }
            if options.role == "chief":
                say(console, f"Hands out trials at {options.chief}; start workers with --role worker.")
            report = tune(search, folder, **limits, lost_after=lost_after, console=console)
            console.print(results_table(report))
            say(console, f"Best settings: {folder / CONFIG}. Run folder: {folder / RUN}")
        elif not before:
            raise InputError(f"`out` should be a folder of `metasgcl tune`. Received: {str(folder)!r}.")
    say(console, f"Pictures: {' and '.join(map(str, write_report(folder)))} (for TensorBoard)")


def search_of(
    layers: Sequence[dict[str, Any]], options: argparse.Namespace, before: dict[str, Any]
) -> Search:
    """The search that the options ask for; what they leave open is as it was in the folder."""
    if before:
        config = build_config(before["config"], *layers)
    else:
        said = {key for layer in layers for key in layer}
        helps = "mixed_precision" not in said and computes_bfloat16()
        config = build_config(*layers, {"mixed_precision": True} if helps else {})
    given = {name: getattr(options, name) for name in ("tuner", "objective", "epochs")}
    given = {name: value for name, value in given.items() if value is not None}
    kept = {name: before[name] for name in ("tuner", "objective", "epochs") if name in before}
    if before and not (options.over or options.space):
        space = before["space"]
    else:
        space = build_space(config, options.over, options.space)
    return Search(config, space, **kept | given).checked()


def default_folder(layers: Sequence[dict[str, Any]]) -> Path:
    """Where a search goes that was given no folder."""
    config = build_config(*layers)
    return Path("runs") / f"tune-{data_name(config.data.data)}-{file_name(name_of(config.training))}"


def say(console: Console, line: str) -> None:
    """Prints a line as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)
