"""The options of `metasgcl hybrid` and `metasgcl compare`."""

import argparse
from typing import Any

from metasgcl_tf.shared_arguments import add_data, add_settings, variants_help

COMPARE_HELP = """\
Trains models on one log and ranks them: HR and NDCG, seen items masked and
kept, mean and deviation over seeds, beside the paper's figures.

  metasgcl compare                 every model on the synthetic log
  metasgcl compare --data toys --seeds 1,2,3 --out runs/toys
  metasgcl compare --data toys --models sasrec,meta_sgcl,hybrid:meta_sgcl
  metasgcl compare --models meta_sgcl,meta_sgcl:no_cl,meta_sgcl:joint

Each run has its own folder in that of the comparison. What is finished there
is not trained again: the same command goes on after an interruption. A run
that fails is listed with its reason, and the exit code is then 1. Writes
leaderboard.md, .csv, .json and .png.
"""

HYBRID_HELP = """\
Mixes the model of a run with ItemCooccurrence, by the weight that ranks the
validation items best, and writes a run folder for `evaluate` and `recommend`.

  metasgcl hybrid runs/toys --out runs/toys-hybrid

`metasgcl train --set hybrid=true` trains and mixes in one go.
"""


def add_hybrid(commands: Any) -> None:
    """`metasgcl hybrid`."""
    hybrid = commands.add_parser(
        "hybrid",
        help="mix the model of a run with item co-occurrence",
        description=HYBRID_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = hybrid.add_argument
    add("run", metavar="RUN", help="a folder that `metasgcl train` wrote")
    add("--out", metavar="RUN", help="folder to write (default RUN-hybrid)")
    add("--overwrite", action="store_true", help="replace the run in that folder")


def add_compare(commands: Any) -> None:
    """`metasgcl compare`."""
    compare = commands.add_parser(
        "compare",
        help="train several models on one log and rank them",
        description=COMPARE_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_data(compare)
    add = compare.add_argument
    add(
        "--models",
        metavar="NAME,NAME,...",
        default="all",
        help="models as `metasgcl models` names them, variants such as meta_sgcl:no_cl "
        f"({variants_help()}) and hybrids such as hybrid:sasrec (default all: every model, and the hybrid of "
        "the best on validation)",
    )
    add("--seeds", type=seeds, metavar="N,N,...", default=[1], help="a run each (default 1)")
    add_settings(compare)
    add("--out", metavar="FOLDER", help="folder of the runs (default runs/compare-DATA)")
    add("--overwrite", action="store_true", help="replace finished runs of other settings")


def seeds(text: str) -> list[int]:
    """`1,2,3` as numbers."""
    return [int(number) for number in text.split(",")]
