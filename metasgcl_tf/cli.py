"""The command line: `metasgcl train | evaluate | recommend`. Parses and calls, nothing else."""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import yaml

from metasgcl_tf.errors import InputError, NonFiniteLossError

DESCRIPTION = "Sequential recommendation: train a model on an interaction log, rank what comes next."

TRAIN_HELP = """\
Reads a log, trains a model on it and ranks every user's last item among all items.

  metasgcl train                                        the built-in synthetic log, two minutes
  metasgcl train --data log.csv --user-col customer --item-col sku --time-col bought_at
  metasgcl train --data toys --preset toys --out runs/toys
  metasgcl train --data log.csv --set hidden_dim=128 dropout=0.4

The last item of a user is for testing, the one before for choosing the epoch, the rest for training.
The table shows every number twice: with the items a user has seen masked, and kept.
"""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message without the usage; exit code 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = OneLineParser(prog="metasgcl", description=DESCRIPTION)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_train(commands)
    evaluate = commands.add_parser("evaluate", help="rank the held-out items of a run again")
    evaluate.add_argument("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    evaluate.set_defaults(call=run_evaluate)
    add_recommend(commands)
    return parser


def add_train(commands: Any) -> None:
    """`metasgcl train`."""
    train = commands.add_parser(
        "train",
        help="train a model on a log and write a run folder",
        description=TRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = train.add_argument
    add(
        "--data",
        metavar="NAME|PATH",
        help="synthetic (default), ml-1m, toys, clothing, beauty, sports, or a file:"
        " .csv .tsv .parquet .inter .dat .json .txt, also .gz",
    )
    add("--user-col", metavar="COLUMN", help="column of the users, where a file has columns")
    add("--item-col", metavar="COLUMN", help="column of the items")
    add("--time-col", metavar="COLUMN", help="column of the times; without one, the order of the rows counts")
    add("--rating-col", metavar="COLUMN", help="column of the ratings")
    add("--min-rating", type=float, metavar="X", help="keep interactions rated X or more (default: all)")
    add(
        "--k-core",
        type=int,
        metavar="K",
        help="drop users and items with fewer than K interactions (default 5)",
    )
    add("--preset", metavar="NAME", help="settings for a data set (default: those of the data set named)")
    add("--model", metavar="NAME", help="meta_sgcl (default), item_cooccurrence, pop")
    add("--config", metavar="FILE", help="YAML file of settings, such as config.yaml of another run")
    add("--set", nargs="+", metavar="KEY=VALUE", default=[], help="any setting, over preset and file")
    add("--max-length", type=int, metavar="N", help="newest items of a history that the model looks at")
    add("--epochs", type=int, metavar="N", help="at most N passes over the training targets")
    add("--seed", type=int, metavar="N", help="of weights, shuffling and noise (default 1)")
    add("--out", metavar="RUN", help="folder to write (default runs/DATA-MODEL-seedN)")
    add("--overwrite", action="store_true", help="replace the run in that folder")
    train.set_defaults(call=run_train)


def add_recommend(commands: Any) -> None:
    """`metasgcl recommend`."""
    recommend = commands.add_parser("recommend", help="the best next items, in the log's own ids")
    add = recommend.add_argument
    add("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    who = recommend.add_mutually_exclusive_group(required=True)
    who.add_argument("--history", metavar="ID,ID,...", help="item ids, oldest first")
    who.add_argument("--user", metavar="ID", help="a user of the log, with the whole history")
    who.add_argument("--histories", metavar="FILE", help="a line `user item item ...` each, or any log")
    add("--k", type=int, default=10, metavar="N", help="how many items (default 10)")
    add("--out", metavar="FILE", help="write a CSV file instead of printing a table")
    add("--titles", metavar="FILE", help="CSV or TSV with the columns item and title")
    add("--include-seen", action="store_true", help="recommend items of the history too")
    recommend.set_defaults(call=run_recommend)


def run_train(arguments: argparse.Namespace) -> None:
    """Trains and prints the table."""
    from rich.console import Console

    from metasgcl_tf.config import build_config, read_config_file
    from metasgcl_tf.reports.tables import results_table
    from metasgcl_tf.training import train

    keys = (
        "data",
        "user_col",
        "item_col",
        "time_col",
        "rating_col",
        "min_rating",
        "k_core",
        "preset",
        "model",
    )
    options = {key: getattr(arguments, key) for key in (*keys, "max_length", "epochs", "seed")}
    config = build_config(
        read_config_file(arguments.config) if arguments.config else {},
        parse_settings(arguments.set),
        {key: value for key, value in options.items() if value is not None},
    )
    training = config.training
    name = Path(config.data.data).name.split(".")[0]
    out = arguments.out or Path("runs") / f"{name}-{training.model}-seed{training.seed}"
    console = Console()
    report = train(config, out, overwrite=arguments.overwrite, console=console)
    console.print(results_table(report))
    console.print(f"{report['seconds']:.0f} s of training. Run folder: {out}", highlight=False)


def run_evaluate(arguments: argparse.Namespace) -> None:
    """Evaluates a run and prints the table."""
    from rich.console import Console

    from metasgcl_tf.data.splitting import leave_one_out
    from metasgcl_tf.evaluation import evaluate
    from metasgcl_tf.reports.tables import results_table
    from metasgcl_tf.run_folder import load_run

    run = load_run(arguments.run)
    split = leave_one_out(run.log)
    report = {part: evaluate(run.model, split, part) for part in ("valid", "test")}
    Console().print(
        results_table(report | {"model": run.config.training.model, "dataset": run.config.data.data})
    )


def run_recommend(arguments: argparse.Namespace) -> None:
    """Prints recommendations."""
    from rich.console import Console

    from metasgcl_tf import recommending
    from metasgcl_tf.reports.tables import recommendations_table
    from metasgcl_tf.run_folder import load_run

    run = load_run(arguments.run)
    titles = recommending.read_titles(arguments.titles) if arguments.titles else {}
    if arguments.history is not None:
        histories = {"": [item.strip() for item in arguments.history.split(",") if item.strip()]}
    elif arguments.user is not None:
        histories = {arguments.user: recommending.history_of(run.log, arguments.user)}
    else:
        histories = recommending.read_histories(arguments.histories)
    found = recommending.recommend(run, histories, k=arguments.k, exclude_seen=not arguments.include_seen)
    if arguments.out:
        found.write_csv(arguments.out)
    else:
        Console().print(recommendations_table(found, titles))


def parse_settings(settings: Sequence[str]) -> dict[str, Any]:
    """`["dropout=0.5", ...]` to values, read as YAML."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key:
            raise InputError(f"`--set` should be KEY=VALUE. Received: {setting!r}.")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"`--set {key}` should be a YAML value. Received: {value!r}.") from None
    return parsed


def import_tensorflow_quietly() -> None:
    """Imports TensorFlow without its start-up notes, which it writes before any log level counts."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    stderr, devnull = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(devnull, 2)
    try:
        import tensorflow  # noqa: F401
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(devnull)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns the exit code: 0, or 2 after bad input with one line on standard error."""
    arguments = build_parser().parse_args(argv)
    import_tensorflow_quietly()
    warnings.showwarning = lambda message, *_: print(f"metasgcl: warning: {message}", file=sys.stderr)
    try:
        arguments.call(arguments)
    except (InputError, NonFiniteLossError) as error:
        print(f"metasgcl: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("metasgcl: interrupted", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
