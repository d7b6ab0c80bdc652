"""Terminal tables: what a run achieved, what it recommends."""

from collections.abc import Mapping
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

TITLES = {"meta_sgcl": "Meta-SGCL", "item_cooccurrence": "ItemCooccurrence", "pop": "Pop"}
SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10")


def results_table(report: dict[str, Any]) -> Table:
    """The test numbers of a run beside its baselines, both protocols, as in `metrics.json`.

    Where the best possible ranking is known, it is the last row and each NDCG@10 shows its share of it.
    """
    best = report.get("best_possible", {}).get("test")
    table = Table(title=f"Test on {report['dataset']}: the last item of each user, ranked among all items")
    table.add_column("model", no_wrap=True)
    table.add_column("seen", no_wrap=True)
    for name in SHOWN:
        table.add_column(name.upper(), justify="right")
    if best:
        table.add_column("of best", justify="right")
    rows = {name: values["test"] for name, values in report.get("baselines", {}).items()}
    rows[report["model"]] = report["test"]
    if best:
        rows["best possible"] = best
    for model, values in rows.items():
        for protocol in ("masked", "kept"):
            numbers = [f"{values[protocol][name]:.4f}" for name in SHOWN]
            if best:
                numbers.append(f"{values[protocol]['ndcg@10'] / best[protocol]['ndcg@10']:.0%}")
            name = TITLES.get(model, model) if protocol == "masked" else ""
            style = "bold" if model == report["model"] and protocol == "masked" else None
            table.add_row(name, protocol, *numbers, style=style, end_section=protocol == "kept")
    valid = report["valid"]["masked"]
    table.caption = (
        f"masked: items the user has seen are no candidates; kept: they are. "
        f"Validation NDCG@10, masked: {valid['ndcg@10']:.4f}"
    )
    return table


def recommendations_table(found: pl.DataFrame, titles: Mapping[str, str]) -> Table:
    """Recommendations, one row each, with titles where given; a column for the users if they have names."""
    with_users = found["user"].n_unique() > 1
    table = Table()
    for title in (
        (["user"] if with_users else []) + ["rank", "item"] + (["title"] if titles else []) + ["score"]
    ):
        table.add_column(title, justify="right" if title in ("rank", "score") else "left")
    for user, rank, item, score in found.select("user", "rank", "item", "score").iter_rows():
        cells = [user] if with_users else []
        cells += [str(rank), escape(str(item))] + ([escape(titles.get(str(item), ""))] if titles else [])
        table.add_row(*cells, f"{score:.4f}")
    return table
