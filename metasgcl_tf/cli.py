"""The command line, `metasgcl COMMAND`: parses and calls, nothing else."""

import argparse
import dataclasses
import gc
import importlib.util
import math
import os
import signal
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from metasgcl_tf.arguments import build_parser
from metasgcl_tf.errors import InputError, NonFiniteLossError, TrainingError, shown, shown_name
from metasgcl_tf.yaml_text import read_yaml

# Options that are configuration keys of the same name.
CONFIG_OPTIONS = (
    *("data", "user_col", "item_col", "time_col", "rating_col", "manual_dir", "min_rating", "k_core"),
    *("preset", "model", "variant", "max_length", "epochs", "seed"),
)


def given_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The configuration keys among the options."""
    options = {key: getattr(arguments, key, None) for key in CONFIG_OPTIONS}
    return {key: value for key, value in options.items() if value is not None}


def run_train(arguments: argparse.Namespace) -> None:
    """Trains and prints the table."""
    from rich.console import Console

    from metasgcl_tf.config import build_config
    from metasgcl_tf.names import run_name
    from metasgcl_tf.training import resume, train
    from metasgcl_tf.yaml_text import read_config_file

    layers = [parse_settings(arguments.set), given_options(arguments)]
    console = Console()
    if arguments.resume is not None:
        if any([*layers, arguments.config, arguments.out, arguments.overwrite]):
            raise InputError("`--resume` goes alone: a run goes on as it began. Received: other options.")
        print_run(resume(arguments.resume, console=console), arguments.resume, console)
        return
    config = build_config(read_config_file(arguments.config) if arguments.config else {}, *layers)
    out = arguments.out or Path("runs") / run_name(config)
    print_run(train(config, out, overwrite=arguments.overwrite, console=console), out, console)


def print_run(report: dict[str, Any], out: str | Path, console: Any) -> None:
    """Prints the table of a run and where it is."""
    from metasgcl_tf.reports.tables import results_table

    console.print(results_table(report))
    done = f"Took {report['seconds']:.0f} s. Run folder: {out}"
    console.print(done, highlight=False, markup=False, soft_wrap=True)


def beside(run: str, what: str) -> Path:
    """Where what is made of a run goes, if nothing else is said."""
    named = Path(run)
    if named.name in ("", ".."):  # no name of its own
        named = named.resolve()
    return named.with_name(f"{named.name}-{what}")


def run_hybrid(arguments: argparse.Namespace) -> None:
    """Mixes a run with co-occurrence and prints the table."""
    from rich.console import Console

    from metasgcl_tf.mixing import mix_run

    out, console = arguments.out or beside(arguments.run, "hybrid"), Console()
    print_run(mix_run(arguments.run, out, overwrite=arguments.overwrite, console=console), out, console)


def run_update(arguments: argparse.Namespace) -> None:
    """Goes on with a run on new interactions and prints the tables."""
    from rich.console import Console

    from metasgcl_tf.reports.tables import update_table
    from metasgcl_tf.updating import update

    out, console = arguments.out or beside(arguments.run, "updated"), Console()
    given = parse_settings(arguments.set) | given_options(arguments)
    report = update(arguments.run, arguments.data, out, given, overwrite=arguments.overwrite, console=console)
    console.print(update_table(report["update"]))
    print_run(report, out, console)


def run_compare(arguments: argparse.Namespace) -> int:
    """Trains what is missing, prints and writes the leaderboard; 1 if a run failed."""
    from rich.console import Console

    from metasgcl_tf.comparing import compare
    from metasgcl_tf.names import data_name
    from metasgcl_tf.reports.leaderboard_files import print_leaderboard, write_leaderboard

    given = parse_settings(arguments.set) | given_options(arguments)
    out = Path(arguments.out or f"runs/compare-{data_name(str(given.get('data', 'synthetic')))}")
    names, console = [name.strip() for name in arguments.models.split(",")], Console()
    board = compare(names, arguments.seeds, given, out, overwrite=arguments.overwrite, console=console)
    if board is None:
        say("error", f"No run finished, so there is nothing to compare; see the .log files in {out}.")
        return 1
    print_leaderboard(board, console)
    written = write_leaderboard(board, out)
    if out / "leaderboard.png" not in written:
        say("warning", 'No plot was drawn: it needs matplotlib, pip install "metasgcl-tf[plots]".')
    console.print(f"Written: {', '.join(map(str, written))}", highlight=False, markup=False, soft_wrap=True)
    return 1 if board["failures"] else 0


def check_installed(command: str, extra: str, *packages: str) -> None:
    """Raises an `InputError` where a command lacks a package of its extra."""
    if any(importlib.util.find_spec(name) is None for name in packages):
        raise InputError(f'`metasgcl {command}` needs more packages: pip install "metasgcl-tf[{extra}]".')


def run_report(arguments: argparse.Namespace) -> int:
    """Trains what is missing of the paper's experiments and writes the report; 1 if a run failed."""
    check_installed("report", "report", "sklearn", "matplotlib")
    from rich.console import Console

    from metasgcl_tf.experiments import chosen
    from metasgcl_tf.provenance import made_by
    from metasgcl_tf.reporting import report
    from metasgcl_tf.reports.experiment_page import write_report

    given = parse_settings(arguments.set) | given_options(arguments)
    given.pop("data", None)  # a list here
    until = math.inf if arguments.max_time is None else time.monotonic() + arguments.max_time
    console, out = Console(), Path(arguments.out)
    how = {"until": until, "overwrite": arguments.overwrite, "train": not arguments.no_runs}
    sections, failures = report(
        chosen(arguments.experiment), arguments.data, arguments.seeds, given, out, **how, console=console
    )
    written = write_report(sections, failures, made_by(), out)
    missing, planned = sum(each.missing for each in sections), sum(each.planned for each in sections)
    there = f"{missing} of {planned} planned results are missing. " if missing else ""
    said = f"{there}Written: {', '.join(map(str, written))}"
    console.print(said, highlight=False, markup=False, soft_wrap=True)
    return 1 if failures else 0


def run_tune(arguments: argparse.Namespace) -> None:
    """Searches for settings, trains the best and draws what was found."""
    check_installed("tune", "tuning", "keras_tuner", "sklearn", "plotly")
    from rich.console import Console

    from metasgcl_tf.tuning import command
    from metasgcl_tf.yaml_text import read_config_file

    given = given_options(arguments)
    given.pop("epochs", None)  # those of a trial
    from_file = read_config_file(arguments.config) if arguments.config is not None else {}
    command.run([from_file, parse_settings(arguments.set), given], arguments, Console())


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Evaluates a run and prints the table."""
    from rich.console import Console

    from metasgcl_tf.data.splitting import leave_one_out
    from metasgcl_tf.evaluation import evaluate
    from metasgcl_tf.names import name_of
    from metasgcl_tf.reports.tables import results_table
    from metasgcl_tf.run_folder import load_run, read_metrics

    run = load_run(arguments.run)
    split = leave_one_out(run.log)
    report = {part: evaluate(run.model, split, part) for part in ("valid", "test")}
    names = {"model": name_of(run.config.training), "dataset": run.config.data.data}
    # The rows beside it are those of the training.
    Console().print(results_table(read_metrics(arguments.run) | names | report))


def run_recommend(arguments: argparse.Namespace) -> None:
    """Prints recommendations, or writes them."""
    from rich.console import Console

    from metasgcl_tf import recommendation_files, recommending
    from metasgcl_tf.config import DataConfig
    from metasgcl_tf.reports.tables import recommendations_table
    from metasgcl_tf.run_folder import FILES_THAT_ANSWER, load_run

    if arguments.users is not None:
        run_recommend_users(arguments)
        return
    if arguments.out is not None:
        own = [Path(arguments.run) / name for name in FILES_THAT_ANSWER]
        given = [path for path in (arguments.histories, arguments.titles) if path is not None]
        recommendation_files.check_out(arguments.out, [*own, *given])
    run = load_run(arguments.run)
    titles = recommendation_files.read_titles(arguments.titles) if arguments.titles is not None else None
    known = None
    if arguments.history is not None:
        histories = {"": [item.strip() for item in arguments.history.split(",") if item.strip()]}
    elif arguments.user is not None:
        known = [recommending.user_of(run.log, arguments.user)]
        histories = {arguments.user: run.log.raw_items(run.log.history(known[0]))}
    else:
        columns = DataConfig(**given_options(arguments)).columns
        known_columns = dataclasses.replace(run.config.data, rating_col=None).columns
        histories = recommendation_files.read_histories(arguments.histories, columns, known_columns)
    k = recommending.how_many(run.log, arguments.k)
    found = recommending.recommend(
        run, histories, k=k, exclude_seen=not arguments.include_seen, user_index=known
    )
    if titles is not None:
        found = recommendation_files.with_titles(found, titles)
    if arguments.out is not None:
        recommendation_files.write_recommendations(found, arguments.out)
    else:
        Console().print(recommendations_table(found))


def run_recommend_users(arguments: argparse.Namespace) -> None:
    """Writes recommendations for all or some users of the log."""
    from rich.console import Console

    from metasgcl_tf.batch_recommending import recommend_users

    if arguments.out is None:
        raise InputError("`--users` needs `--out`, a .parquet or .csv file. Received: no `--out`.")
    count = recommend_users(
        arguments.run,
        arguments.out,
        arguments.users,
        k=arguments.k,
        exclude_seen=not arguments.include_seen,
        titles=arguments.titles,
        console=Console(stderr=True),
    )
    print(f"Written: {arguments.out}, {count:,} users")


def run_export(arguments: argparse.Namespace) -> None:
    """Exports the model of a run."""
    from metasgcl_tf.export import export

    to = arguments.to or Path("saved_models") / Path(arguments.run).resolve().name
    print(f"Written: {export(arguments.run, to, core_k=arguments.core_k, formats=arguments.format)}")


def run_serve_check(arguments: argparse.Namespace) -> int:
    """Checks an exported model and prints what it found; 1 if answers differ from the trained model's."""
    from rich.console import Console

    from metasgcl_tf.reports.tables import serve_check_table
    from metasgcl_tf.serving.check import serve_check

    found = serve_check(arguments.path)
    Console().print(serve_check_table(found))
    return 0 if all(each.get("agrees", True) for each in found) else 1


def run_models(arguments: argparse.Namespace) -> None:
    """Prints the models, or the settings of one."""
    from rich.console import Console

    from metasgcl_tf.config import build_config
    from metasgcl_tf.reports.tables import models_table, settings_table
    from metasgcl_tf.settings import settings

    if arguments.model is None:
        Console().print(models_table())
        return
    Console().print(settings_table(settings(build_config(given_options(arguments)))))


COMMANDS = {
    "train": run_train,
    "update": run_update,
    "hybrid": run_hybrid,
    "compare": run_compare,
    "report": run_report,
    "tune": run_tune,
    "evaluate": run_evaluate,
    "recommend": run_recommend,
    "export": run_export,
    "serve-check": run_serve_check,
    "models": run_models,
}


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`["dropout=0.5", ...]` to values, read as YAML."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"`--set` should be KEY=VALUE. Received: {shown(setting)}.")
        try:
            parsed[key] = read_yaml(value)
        except yaml.YAMLError:
            raise InputError(
                f"`--set {shown_name(key)}` should be a YAML value. Received: {shown(value)}."
            ) from None
    return parsed


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up notes, which it writes before any log level counts.

    Nothing of it is garbage, so none is looked for among the objects that it makes, now or at the
    end: a fifth of what a command that does little takes.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    first = "tensorflow" not in sys.modules
    if first:
        gc.disable()
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        import tensorflow as tf
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)
        if first:
            gc.freeze()
            gc.enable()
    # It warns of retracing, which is what evaluating several models is.
    tf.get_logger().setLevel("ERROR")


def say(kind: str, message: object) -> None:
    """Prints one line on standard error."""
    print(f"metasgcl: {kind}: {' '.join(str(message).split())}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command.

    Returns:
        The exit code: 0; 1 if a run of a comparison or report failed or an export answers wrongly; 2 after
        bad input or a file that cannot be read or written, with one line on standard error; 130 after Ctrl-C
        and 143 after SIGTERM.
    """
    arguments = build_parser().parse_args(argv)
    try:
        import_tensorflow_quietly()
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: say("warning", message)
            # Keras' note on a history of one item, whose attention has one place to look at.
            warnings.filterwarnings("ignore", "You are using a softmax over axis")
            warnings.simplefilter("ignore", DeprecationWarning)
            return COMMANDS[arguments.command](arguments) or 0
    except KeyboardInterrupt as interruption:
        say("error", str(interruption) or "interrupted")
        return 128 + getattr(interruption, "signal", signal.SIGINT)
    except (InputError, NonFiniteLossError, TrainingError, OSError) as error:
        say("error", error)
        return 2
    except Exception as error:
        # TensorFlow's error has no name before TensorFlow is imported.
        if not isinstance(error, MemoryError) and type(error).__name__ != "ResourceExhaustedError":
            raise
        say("error", "The memory is not enough. Smaller hidden_dim, max_length or batch_size need less.")
        return 2


if __name__ == "__main__":
    sys.exit(main())
