"""The leaderboard for people: terminal tables, Markdown, CSV, JSON, a plot."""

import json
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metasgcl_tf.reports import paper
from metasgcl_tf.reports.markdown import markdown_table, plain
from metasgcl_tf.reports.plots import leaderboard_plot
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN

NUMBERS = ("model", "seen", *(name.upper() for name in SHOWN))
TEXT = ("model", "seen")  # columns of text
COSTS = ("model", "valid NDCG@10", "seeds", "seconds", "parameters")


def write_leaderboard(board: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `leaderboard.md`, `.csv`, `.json` and, with matplotlib, `.png`; returns what was written."""
    paths = [folder / f"leaderboard.{kind}" for kind in ("md", "csv", "json", "png")]
    paths[0].write_text(markdown(board), encoding="utf-8")
    paths[1].write_text(flat(board).write_csv(), encoding="utf-8")
    paths[2].write_text(json.dumps(board, indent=2) + "\n", encoding="utf-8")
    try:
        leaderboard_plot(board, paths[3])
    except ImportError:
        paths[3].unlink(missing_ok=True)  # of an earlier comparison
        return paths[:3]
    return paths


def print_leaderboard(board: dict[str, Any], console: Console) -> None:
    """Prints both tables and the notes."""
    for title, head, rows in tables(board):
        table = Table(
            title=escape(title), box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True
        )
        for name in head:
            justify = "left" if name in TEXT else "right"
            table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "model")
        for row in rows:
            style = "bold" if row == rows[0] else "dim" if "paper" in row[1] else None
            table.add_row(*map(escape, row), style=style)
        console.print(table)
        console.print()
    for note in notes(board):
        console.print(note, highlight=False, markup=False)


def markdown(board: dict[str, Any]) -> str:
    """The same as Markdown."""
    parts = []
    for title, head, rows in tables(board):
        parts += [f"## {plain(title)}", markdown_table(head, rows, sum(name in TEXT for name in head))]
    return "\n\n".join([*parts, *map(plain, notes(board))]) + "\n"


def tables(board: dict[str, Any]) -> list[tuple[str, tuple[str, ...], list[list[str]]]]:
    """`(title, head, rows)` of the two tables, cells as text."""
    numbers, costs = [], []
    for row in board["rows"]:
        for protocol in PROTOCOLS:
            cells = [number(**row["test"][protocol][name]) for name in SHOWN]
            numbers.append([row["title"] if protocol == "masked" else "", protocol, *cells])
        if figures := row["paper"]:
            mark = "*" if paper.cannot_be_one_ranking(figures) else ""
            numbers.append(["", f"paper{mark}", *(f"{figures[name]:.4f}" for name in SHOWN)])
        seeds, valid = ", ".join(map(str, row["seeds"])), f"{row['valid_ndcg@10']:.4f}"
        costs.append([row["title"], valid, seeds, f"{row['seconds']:,.0f}", f"{row['parameters']:,}"])
    if board["best_possible"] is not None:
        for protocol, values in board["best_possible"]["test"].items():
            title = "best possible" if protocol == "masked" else ""
            numbers.append([title, protocol, *(f"{values[name]:.4f}" for name in SHOWN)])
    name = Path(board["dataset"]).name
    return [
        (f"Test on {name}, ranked among all {board['counts']['items']:,} items", NUMBERS, numbers),
        ("What each took", COSTS, costs),
    ]


def number(mean: float, std: float | None) -> str:
    """`0.0652` of one run, `0.0652±.0011` of several."""
    return f"{mean:.4f}" if std is None else f"{mean:.4f}±{std:.4f}".replace("±0", "±")


def notes(board: dict[str, Any]) -> list[str]:
    """What the numbers mean, one paragraph each."""
    seeds = max(len(row["seeds"]) for row in board["rows"])
    spread = (
        "± is the standard deviation over seeds; what no seed changes is run once."
        if seeds > 1
        else "One seed: another one may change the order of models that are close."
    )
    found = [
        "masked: items the user has seen are no candidates; kept: they are. Sorted by validation NDCG@10, "
        f"masked. {spread} Seconds and parameters are those of one run, "
        "a hybrid's with those of its model."
    ]
    if board["paired_test"] is not None:
        found.append(paired_test_sentence(board))
    if published := [row for row in board["rows"] if row["paper"]]:
        found.append(paper.note())
        behind = [row["title"] for row in published if not reaches_the_paper(row)]
        but = f", but for {', '.join(behind)}" if behind else ""
        found.append(f"All four of the paper's figures are reached, masked or kept, by every model{but}.")
    for failure in board["failures"]:
        found.append(f"Failed: {failure['run']}: {failure['reason']}")
    return found


def reaches_the_paper(row: dict[str, Any]) -> bool:
    """Whether one of the protocols gives all four of the paper's figures or more, rounded as they are."""
    return any(
        all(round(row["test"][protocol][name]["mean"], 4) >= row["paper"][name] for name in SHOWN)
        for protocol in PROTOCOLS
    )


def paired_test_sentence(board: dict[str, Any]) -> str:
    """The paired test in words."""
    test, titles = board["paired_test"], {row["name"]: row["title"] for row in board["rows"]}
    return (
        f"{titles[test['best']]} against {titles[test['second']]}, the first two on validation: test "
        f"NDCG@10, masked, differs by {test['mean_difference']:+.4f}; better for {test['better_for']:,} and "
        f"worse for {test['worse_for']:,} of {test['users']:,} users; p = {test['p']:.2g} (paired: the signs "
        "of the users' differences flipped, seeds averaged; it says nothing of other seeds)."
    )


def flat(board: dict[str, Any]) -> pl.DataFrame:
    """One row for each model and protocol, numbers unrounded."""
    lines = []
    for row in board["rows"]:
        figures = row["paper"] or {}
        for protocol in PROTOCOLS:
            line = {"name": row["name"], "model": row["title"], "seen": protocol, "seeds": len(row["seeds"])}
            for name in SHOWN:
                line |= {
                    name: row["test"][protocol][name]["mean"],
                    f"{name}_std": row["test"][protocol][name]["std"],
                }
            line |= {key: row[key] for key in ("valid_ndcg@10", "seconds", "parameters")}
            lines.append(line | {f"paper_{name}": figures.get(name) for name in SHOWN})
    return pl.DataFrame(lines, infer_schema_length=None)
