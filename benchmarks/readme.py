"""Rewrites the tables of README.md and docs/ from `benchmarks/results/`: `python -m benchmarks.readme`."""

import argparse
import re
from pathlib import Path

from benchmarks.best import best_block
from benchmarks.measured import check_clean, measured
from benchmarks.probes import probes_block
from benchmarks.serving import report as serving
from benchmarks.speed import report
from benchmarks.tuning import tuning_block
from metasgcl_tf.names import data_name
from metasgcl_tf.reports.leaderboard_files import number
from metasgcl_tf.reports.markdown import markdown_table, plain
from metasgcl_tf.reports.paper import cannot_be_one_ranking
from metasgcl_tf.reports.tables import PROTOCOLS
from metasgcl_tf.reports.tables import SHOWN as ALL_SHOWN

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
SHOWN = ("hr@10", "ndcg@10")
HEAD = [
    "model",
    "HR@10, masked",
    "NDCG@10, masked",
    "HR@10, kept",
    "NDCG@10, kept",
    "paper's HR@10",
    "paper's NDCG@10",
    "minutes",
]


def results_block() -> str:
    """A table for each data set, a row a model, and what it takes to repeat them."""
    parts = []
    for path in sorted(RESULTS.glob("*/leaderboard.json")):
        board = measured(path)
        runs = [run for row in board["rows"] for run in row["runs"]]
        for run in runs:
            check_clean(path, run["commit"])
        rows = [[row["title"], *figures_of(row), f"{row['seconds'] / 60:,.0f}"] for row in board["rows"]]
        if board["best_possible"] is not None:
            test = board["best_possible"]["test"]
            best = [f"{test[protocol][name]:.4f}" for protocol in PROTOCOLS for name in SHOWN]
            rows.append(["best possible", *best, "", "", ""])
        data, folder = data_name(board["dataset"]), path.parent.relative_to(ROOT)
        machines = " or ".join(sorted({run["machine"] for run in runs}))
        commits = ", ".join(dict.fromkeys(run["commit"][:10] for run in runs))
        made = f"`{board['command']}`; {machines}, TensorFlow {board['versions']['tensorflow']}"
        links = f"[HR and NDCG at 5 and 10]({folder}/leaderboard.md), [each run]({folder}/leaderboard.json)"
        parts += [
            f"**{data}**, ranked among all {board['counts']['items']:,} items:",
            markdown_table(HEAD, rows),
            f"{made}; commits {commits}. {links}.",
        ]
        if (popularity := path.with_name("popularity.json")).is_file():
            parts += popularity_parts(popularity, board)
    return "\n\n".join(parts) + "\n"


def popularity_parts(path: Path, board: dict) -> list[str]:
    """What Pop reaches, however it is counted."""
    found = measured(path)
    (published,) = (row["paper"] for row in board["rows"] if row["name"] == "pop")
    rows = [
        [f"{row['counted']}, ties {row['ties']} the target"]
        + [f"{row['test'][protocol][name]:.4f}" for protocol in PROTOCOLS for name in ALL_SHOWN]
        for row in found["rows"]
    ]
    rows.append(["the paper", *(f"{published[name]:.4f}" for name in ALL_SHOWN), *[""] * len(ALL_SHOWN)])
    head = [f"{name.upper()}, {protocol}" for protocol in PROTOCOLS for name in ALL_SHOWN]
    return [
        "Pop learns nothing, yet its figures hang on what is counted and on whom a tie favours:",
        markdown_table(["Pop counts", *head], rows),
        f"`{found['command']}` at commit {found['commit'][:10]}; ours are those of the first row.",
    ]


def figures_of(row: dict) -> list[str]:
    """HR@10 and NDCG@10: masked, kept, the paper's."""
    ours = [number(**row["test"][protocol][name]) for protocol in PROTOCOLS for name in SHOWN]
    if row["paper"] is None:
        return [*ours, "", ""]
    mark = "\\*" if cannot_be_one_ranking(row["paper"]) else ""
    return [*ours, *(f"{row['paper'][name]:.4f}{mark}" for name in SHOWN)]


def speed_block() -> str:
    """What was asked of speed and memory and what was measured, and on which machine."""
    found = measured(report.RESULTS / "speed.json")
    return f"{report.machine_lines(found)}\n\n{report.goals_table(found)}\n"


def serving_block() -> str:
    """What exported models answer, how fast, and which machine said so."""
    return serving.serving_block(measured(RESULTS / "serving" / "serving.json"))


def searched_block() -> str:
    """What a search over the settings of Meta-SGCL found."""
    return tuning_block(measured(RESULTS / "tuning" / "toys.json")) + "\n"


def reliability_block() -> str:
    """What the tests of reliability tried and lost."""
    found = measured(RESULTS / "reliability" / "reliability.json")
    rows = [[plain(name), plain(value)] for name, value in found["figures"].items()]
    tests = ", ".join(f"{number} {outcome}" for outcome, number in found["tests"].items())
    made = f"`{found['command']}` at commit {found['commit'][:10]}, {found['machine']}: {tests}."
    return "\n\n".join([markdown_table(["tried", "found"], rows, text_columns=2), made]) + "\n"


PAGES = {  # page -> the blocks in it
    ROOT / "README.md": {"best": best_block, "results": results_block, "speed": speed_block},
    ROOT / "docs" / "serving" / "README.md": {"serving": serving_block},
    ROOT / "docs" / "tuning.md": {"search": searched_block},
    ROOT / "docs" / "experiments.md": {"probes": probes_block},
    ROOT / "docs" / "reliability.md": {"figures": reliability_block},
}


def updated(page: Path) -> str:
    """A page with its generated blocks made anew."""
    text = page.read_text(encoding="utf-8")
    for name, make in PAGES[page].items():
        block, made = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL), make()
        text = block.sub(lambda found, made=made: found[1] + made + found[2], text)
    return text


if __name__ == "__main__":
    argparse.ArgumentParser(description=__doc__).parse_args()
    for page in PAGES:
        page.write_text(updated(page), encoding="utf-8")
