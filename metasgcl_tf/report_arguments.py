"""The options of `metasgcl report`."""

import argparse
import contextlib
from typing import Any

from metasgcl_tf.comparison_arguments import seeds
from metasgcl_tf.shared_arguments import add_settings
from metasgcl_tf.tuning_arguments import names, seconds

REPORT_HELP = """\
Measures the tables and figures of the Meta-SGCL paper: trains the runs that
each needs and that are not there yet, and writes report.html and report.md,
with the paper's figures beside ours, seen items masked and kept.

  metasgcl report --experiment table3,fig5 --data toys --out runs/paper
  metasgcl report --data /logs/toys.txt.gz,ml-1m --seeds 1,2,3 --out runs/paper
  metasgcl report --data toys --max-time 600 --out runs/paper    ten hours
  metasgcl report --data toys --no-runs --out runs/paper     what is there

table2 all models; table3 ablation; table4 heads; table5 temperature; table6
dropout; table7 similarity; fig3 joint or two-step; fig4 alpha, beta, d; fig5
noise; fig6 item embeddings. Runs that several share are trained once, each in
a process of its own; the same command goes on where it was stopped. Each
result is kept as FOLDER/DATA/RUN.json, which counts without the run's folder.
"""


def add_report(commands: Any) -> None:
    """`metasgcl report`."""
    report = commands.add_parser(
        "report",
        help="measure the tables and figures of the paper",
        description=REPORT_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = report.add_argument
    add("--experiment", type=names, metavar="NAME,NAME,...", default=["all"], help="which (default all)")
    add(
        "--data",
        type=names,
        metavar="NAME|PATH,...",
        default=["synthetic"],
        help="names of data sets or files of logs; a file named like a data set, such as toys.txt.gz, has "
        "its preset (default synthetic)",
    )
    add("--preset", metavar="NAME", help="settings for a data set, whatever the names of the logs")
    add("--seeds", type=seeds, metavar="N,N,...", default=[1], help="a run each (default 1)")
    add(
        "--max-time",
        type=minutes,
        metavar="MINUTES",
        help="train so long at most (or 2h, 1h30m): then no run begins, and the one under way writes a "
        "checkpoint, from which the next call goes on",
    )
    add("--no-runs", action="store_true", help="train nothing: report what is there")
    add_settings(report)
    add("--out", metavar="FOLDER", default="runs/report", help="of runs and report (default runs/report)")
    add("--overwrite", action="store_true", help="replace results of other settings")


def minutes(text: str) -> float:
    """Seconds of a number of minutes, or of a time such as `2h` or `90m`."""
    with contextlib.suppress(ValueError):
        if 0 <= (number := float(text)) < float("inf"):
            return 60 * number
    return seconds(text)
