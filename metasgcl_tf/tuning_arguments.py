"""The options of `metasgcl tune`."""

import argparse
import contextlib
import math
import re
from typing import Any

from metasgcl_tf.shared_arguments import add_data, add_model, add_settings

TUNE_HELP = """\
Searches for the settings with which a model ranks the validation items best,
trains the best ones on the whole budget and draws what it found.

  metasgcl tune --out runs/tune                the synthetic log
  metasgcl tune --data toys --epochs 8 --trials 20 --max-time 2h --out runs/toys
  metasgcl tune --over dropout,learning_rate,num_layers --out runs/more
  metasgcl tune --model sasrec --space space.yaml --tuner random --out runs/sas
  metasgcl tune --out runs/tune                goes on where it was stopped

The first trial is the preset. Test items are looked at once, at the end. In
FOLDER: best.yaml (for metasgcl train --config), best/ (that run), report.html,
tensorboard/ (HParams), trials/ (JSON). docs/tuning.md tells of ranges, several
machines and GPUs.
"""


def add_tune(commands: Any) -> None:
    """`metasgcl tune`."""
    tune = commands.add_parser(
        "tune",
        help="search for the best settings of a model",
        description=TUNE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = tune.add_argument
    add_data(tune)
    add_model(tune)
    add("--config", metavar="FILE", help="YAML file of settings that every trial has")
    add_settings(tune, epochs="of a trial, at most (default: as many as the preset has)")
    add("--seed", type=int, metavar="N", help="of the search; trial n has the seed N + n (default 1)")
    add_search(tune)
    add("--out", metavar="FOLDER", help="of the search (default runs/tune-DATA-MODEL); again to go on")
    add("--report-only", action="store_true", help="draw what FOLDER holds so far and stop")
    add_roles(tune)


def add_search(parser: argparse.ArgumentParser) -> None:
    """What is searched, by whom, and for how long."""
    add = parser.add_argument
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "--over",
        type=names,
        metavar="KEY,KEY,...",
        help="settings to search, each over its built-in range (default of meta_sgcl: "
        "contrastive_weight,kl_weight,temperature,hidden_dim)",
    )
    what.add_argument("--space", metavar="FILE", help="YAML file of settings with ranges of your own")
    add("--tuner", metavar="NAME", help="bayesian (default), hyperband, random or grid")
    add("--objective", metavar="NAME", help="what a trial scores (default val_ndcg@10)")
    add("--trials", type=int, metavar="N", help="how many (default 20)")
    add(
        "--max-time",
        type=seconds,
        metavar="TIME",
        help="2h, 90m, 600s: begin no trial that would end later",
    )


def add_roles(parser: argparse.ArgumentParser) -> None:
    """Several processes or machines."""
    add = parser.add_argument
    add("--role", metavar="NAME", help="chief: hands trials out; worker: runs them")
    add("--chief", metavar="HOST:PORT", help="where the chief listens")
    add(
        "--lost-after",
        type=float,
        metavar="SECONDS",
        help="of silence, then another worker gets the trial (default 120)",
    )


def names(text: str) -> list[str]:
    """`a,b` in its parts."""
    return [name.strip() for name in text.split(",") if name.strip()]


def seconds(text: str) -> float:
    """`2h`, `1h30m`, `90m`, `45s`, or a number of seconds."""
    parts = re.fullmatch(r"(?:([\d.]+)h)?(?:([\d.]+)m)?(?:([\d.]+)s?)?", text.strip())
    total = math.nan
    if text.strip() and parts is not None:
        with contextlib.suppress(ValueError):  # 1.2.3h
            total = sum(
                float(part or 0) * unit for part, unit in zip(parts.groups(), (3600, 60, 1), strict=True)
            )
    if not math.isfinite(total):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no time such as 2h, 90m or 1h30m")
    return total
