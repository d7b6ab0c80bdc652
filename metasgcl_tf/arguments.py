"""What can be written on the command line. Imports nothing slow, so that `--help` answers at once."""

import argparse
from typing import Any, NoReturn

import metasgcl_tf
from metasgcl_tf.comparison_arguments import add_compare, add_hybrid
from metasgcl_tf.report_arguments import add_report
from metasgcl_tf.shared_arguments import (
    add_columns,
    add_data,
    add_model,
    add_ratings,
    add_set,
    add_settings,
)
from metasgcl_tf.tuning_arguments import add_tune

DESCRIPTION = "Sequential recommendation: train a model on an interaction log, rank what comes next."

TRAIN_HELP = """\
Reads a log, trains a model on it and ranks every user's last item among all.

  metasgcl train                   the built-in synthetic log, two minutes
  metasgcl train --data log.csv --item-col sku --time-col bought_at
  metasgcl train --data toys --out runs/toys
  metasgcl train --data log.csv --set hidden_dim=128 dropout=0.4
  metasgcl train --config runs/toys/config.yaml --out runs/toys-again
  metasgcl train --resume runs/toys             goes on after a crash or Ctrl-C

The last item of a user is for testing, the one before for choosing the
epoch, the rest for training. The table shows every number twice: with the
items that a user has seen masked, and kept.
"""

UPDATE_HELP = """\
Goes on with the training of a run, on its log and what came after it: new
interactions, new users, new items. What was learned stays: the tables of
items and users get rows, and the optimizer goes on where it was.

  metasgcl update runs/shop --data june.csv --out runs/shop-june
  metasgcl update runs/shop --data june.csv --set learning_rate=0.0005

The columns are those of the run's log. Its interactions come after the
histories so far and should not be in them already; every new user and item
counts. The best epoch on validation is kept; if none beats the run as it was,
that is what is kept. The tables show test items that are old and new apart,
before and after the training.
"""

MODELS_HELP = """\
Without a model: the models. With one: everything that can be set of it, of
its training and of the data, with the values it has unless they are set.

  metasgcl models
  metasgcl models meta_sgcl
  metasgcl models sasrec --preset toys
"""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Prints the message without the usage, in one line; exit code 2."""
        message = " ".join(message.split())
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = OneLineParser(prog="metasgcl", description=DESCRIPTION)
    parser.add_argument("--version", action="version", version=f"metasgcl {metasgcl_tf.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_train(commands)
    add_update(commands)
    add_hybrid(commands)
    add_compare(commands)
    add_report(commands)
    add_tune(commands)
    rank_again = "rank the held-out items of a run again"
    evaluate = commands.add_parser("evaluate", help=rank_again, description=f"{rank_again.capitalize()}.")
    evaluate.add_argument("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    add_recommend(commands)
    add_export(commands)
    add_serve_check(commands)
    add_models(commands)
    return parser


def add_train(commands: Any) -> None:
    """`metasgcl train`."""
    train = commands.add_parser(
        "train",
        help="train a model on a log and write a run folder",
        description=TRAIN_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(train)
    add = train.add_argument
    add_model(train)
    add("--config", metavar="FILE", help="YAML file of settings, such as config.yaml of another run")
    add_settings(train)
    add("--seed", type=int, metavar="N", help="of weights, shuffling and noise (default 1)")
    add("--out", metavar="RUN", help="folder to write (default runs/DATA-MODEL-seedN)")
    add("--overwrite", action="store_true", help="replace the run in that folder")
    add("--resume", metavar="RUN", help="go on with a training that was cut short, as if it had not been")


def add_update(commands: Any) -> None:
    """`metasgcl update`."""
    update = commands.add_parser(
        "update",
        help="go on with a run on new interactions, users and items",
        description=UPDATE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = update.add_argument
    add("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    add(
        "--data",
        metavar="FILE",
        required=True,
        help="what came after the log of the run, in any format of a log",
    )
    add_columns(update)
    add_ratings(update)
    add("--epochs", type=int, metavar="N", help="at most N passes over the training targets (default 5)")
    add_set(
        update,
        "patience, batch_size, learning_rate, meta_learning_rate (default: the run's first ones; they do not "
        "fall) or seed",
    )
    add("--out", metavar="RUN", help="folder to write (default RUN-updated)")
    add("--overwrite", action="store_true", help="replace the run in that folder")


def add_recommend(commands: Any) -> None:
    """`metasgcl recommend`."""
    recommend = commands.add_parser(
        "recommend",
        usage="%(prog)s RUN (--history | --user | --histories | --users) ...\n"
        "       [--k N] [--out FILE] [--titles FILE] [--include-seen]\n"
        "       [--user-col COLUMN] [--item-col COLUMN] [--time-col COLUMN]",
        help="the best next items, in the log's own ids",
        description="The best next items for one history, for a user of the log, for a file of histories, or "
        "for many users of the log. Histories need not be of its users; items that are not in it are ignored "
        "with a warning.",
    )
    add = recommend.add_argument
    add("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    who = recommend.add_mutually_exclusive_group(required=True)
    who.add_argument("--history", metavar="ID,ID,...", help="item ids, oldest first")
    who.add_argument("--user", metavar="ID", help="a user of the log, with the whole history")
    who.add_argument(
        "--histories",
        metavar="FILE",
        help=".txt with a line `user item item ...` each, or any other format of a log; a table with the "
        "columns that the log had, or usual ones, if --user-col and so on do not name them",
    )
    who.add_argument(
        "--users",
        metavar="all|FILE",
        help="every user of the log, or those of a file with an id a line, to --out; interrupted, the same "
        "command goes on where it was",
    )
    add("--k", type=int, metavar="N", help="how many items (default 10, or all where there are fewer)")
    add("--out", metavar="FILE", help="a .csv or .parquet file to write instead of printing a table")
    add("--titles", metavar="FILE", help="CSV or TSV with the columns item and title")
    add("--include-seen", action="store_true", help="recommend items of the history too")
    add_columns(recommend)


def add_export(commands: Any) -> None:
    """`metasgcl export`."""
    export = commands.add_parser(
        "export",
        help="write the model of a run as SavedModels for serving",
        description="Writes the next version of a model for TF Serving (serving/, which speaks the log's own "
        "ids) and for other runtimes (core/, dense ids), with the item vectors and a model card.",
    )
    export.add_argument("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    export.add_argument("--to", metavar="FOLDER", help="of the versions (default saved_models/NAME-OF-RUN)")
    export.add_argument(
        "--core-k", type=int, metavar="K", default=100, help="items that core/ answers with (default 100)"
    )
    export.add_argument(
        "--format",
        nargs="+",
        action="extend",
        default=[],
        metavar="onnx|litert",
        help="write core/ as core.onnx or core.tflite too",
    )


def add_serve_check(commands: Any) -> None:
    """`metasgcl serve-check`."""
    check = commands.add_parser(
        "serve-check",
        help="does an exported model answer as the trained one did, and how fast",
        description="Loads every artefact of an exported version in a clean process, compares its answers "
        "for 100 users with those of the trained model, and times it for 1 and for 64 users.",
    )
    check.add_argument("path", metavar="PATH", help="folder of a version, such as saved_models/shop/1")


def add_models(commands: Any) -> None:
    """`metasgcl models`."""
    models = commands.add_parser(
        "models",
        help="the models, or what can be set of one",
        description=MODELS_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models.add_argument("model", nargs="?", metavar="MODEL", help="name of a model")
    models.add_argument("--preset", metavar="NAME", help="with the values for a data set, such as toys")
