"""Terminal tables: what a run achieved, what it recommends, what can be set."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from rich import box
from rich.markup import escape
from rich.table import Table

from metasgcl_tf.models import MODELS
from metasgcl_tf.names import title_of
from metasgcl_tf.settings import Setting, summary

SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10")
PROTOCOLS = ("masked", "kept")


def tested(report: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The test numbers of `metrics.json` by name: baselines, the model, and the best possible if known."""
    rows = {name: values["test"] for name, values in report.get("baselines", {}).items()}
    rows[report["model"]] = report["test"]
    if "best_possible" in report:
        rows["best possible"] = report["best_possible"]["test"]
    return rows


def results_table(report: dict[str, Any]) -> Table:
    """The test numbers of a run beside its baselines, both protocols, as in `metrics.json`.

    Where the best possible ranking is known, it is the last row and each NDCG@10 shows its share of it.
    """
    best = report.get("best_possible", {}).get("test")
    table = Table(title=f"Test on {escape(Path(report['dataset']).name)}, ranked among all items")
    table.add_column("model", no_wrap=True)
    table.add_column("seen", no_wrap=True)
    for name in SHOWN:
        table.add_column(name.upper(), justify="right")
    if best:
        table.add_column("of best", justify="right")
    for model, values in tested(report).items():
        for protocol in PROTOCOLS:
            numbers = [f"{values[protocol][name]:.4f}" for name in SHOWN]
            if best:
                numbers.append(f"{values[protocol]['ndcg@10'] / best[protocol]['ndcg@10']:.0%}")
            name = title_of(model) if protocol == "masked" else ""
            style = "bold" if model == report["model"] and protocol == "masked" else None
            table.add_row(name, protocol, *numbers, style=style, end_section=protocol == "kept")
    valid = report["valid"]["masked"]
    table.caption = (
        f"masked: items the user has seen are no candidates; kept: they are. "
        f"Validation NDCG@10, masked: {valid['ndcg@10']:.4f}"
    )
    return table


def serve_check_table(found: Sequence[dict[str, Any]]) -> Table:
    """What `serve_check` found, an artefact a row."""
    table = Table(title="Answers of the export beside those of the trained model, and milliseconds")
    for name in ("artefact", "answers"):
        table.add_column(name, no_wrap=True)
    for name in ("same ids", "difference", "users", "p50", "p95", "p99"):
        table.add_column(name, justify="right")
    for each in found:
        if "skipped" in each:
            table.add_row(each["artefact"], f"not checked: {each['skipped']}")
            continue
        verdict = "agree" if each["agrees"] else "[bold red]differ[/]"
        first = [each["artefact"], verdict, f"{each['same_ids']} of {each['users']}"]
        first.append(f"{each['largest_difference']:.0e}")
        for users, times in each["milliseconds"].items():
            table.add_row(*first, users, *(f"{ms:.1f}" for ms in times))
            first = [""] * len(first)
    table.caption = "difference: the largest of a score. Ids may swap where scores are equal within 1e-5."
    return table


def update_table(update: dict[str, Any]) -> Table:
    """The test numbers of old and of new items apart, before and after an update, as in `metrics.json`."""
    table = Table(title="Test by whether the item to find is a new one")
    for name in ("target", "users", "update", "seen"):
        table.add_column(name, no_wrap=True, justify="right" if name == "users" else "left")
    for name in SHOWN:
        table.add_column(name.upper(), justify="right")
    for group, after in update["after"].items():
        if not after["users"]:
            table.add_row(group, "0", end_section=True)
            continue
        for when in ("before", "after"):
            for protocol in PROTOCOLS:
                first, style = (when, protocol) == ("before", "masked"), "bold" if when == "after" else None
                numbers = [f"{update[when][group][protocol][name]:.4f}" for name in SHOWN]
                named = (group, f"{after['users']:,}") if first else ("", "")
                last = (when, protocol) == ("after", "kept")
                table.add_row(
                    *named,
                    when if protocol == "masked" else "",
                    protocol,
                    *numbers,
                    style=style,
                    end_section=last,
                )
    return table


def recommendations_table(found: pl.DataFrame) -> Table:
    """Recommendations, one row each; a column for the users only if there are several."""
    if found["user"].n_unique() < 2:
        found = found.drop("user")
    table = Table()
    for name, dtype in found.schema.items():
        # Folded, because an id that is cut off is no id.
        table.add_column(
            name, justify="right" if dtype.is_numeric() and name != "item" else "left", overflow="fold"
        )
    for row in found.iter_rows():
        table.add_row(*(f"{cell:.4f}" if isinstance(cell, float) else escape(str(cell)) for cell in row))
    return table


def models_table() -> Table:
    """Every model with its first line."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("model", no_wrap=True)
    table.add_column("what it is")
    for name in MODELS:
        table.add_row(name, escape(summary(name).replace("`", "")))
    return table


def settings_table(found: dict[str, list[Setting]]) -> Table:
    """Every setting, those of the model first."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("meaning")
    for part, rows in reversed(found.items()):
        table.add_row(f"[bold]{part}[/bold]", "", "")
        for row in rows:
            table.add_row(*map(escape, row), end_section=row == rows[-1])
    return table
