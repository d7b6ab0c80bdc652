"""Plots of results; matplotlib, the extra `plots`, is imported when one is drawn."""

import math
from pathlib import Path
from typing import Any

from metasgcl_tf.reports.paper import cannot_be_one_ranking

COLOURS = {"masked": "#2a6f97", "kept": "#a9c6d8", "paper": "#c1121f"}


def leaderboard_plot(board: dict[str, Any], path: Path) -> None:
    """Draws test NDCG@10 of every model as bars, with the deviation over seeds and the paper's figures.

    Raises:
        ImportError: there is no matplotlib.
    """
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    rows = board["rows"][::-1]  # the best on top
    figure, axis = plt.subplots(figsize=(8, 1.8 + 0.55 * len(rows)), layout="constrained")
    for protocol, shift in (("masked", 0.2), ("kept", -0.2)):
        values = [row["test"][protocol]["ndcg@10"] for row in rows]
        bars = axis.barh(
            [place + shift for place in range(len(rows))],
            [value["mean"] for value in values],
            height=0.38,
            xerr=[math.nan if value["std"] is None else value["std"] for value in values],
            color=COLOURS[protocol],
            error_kw={"elinewidth": 1, "capsize": 2},
            label=f"seen items {protocol}",
        )
        axis.bar_label(bars, [f"{value['mean']:.4f}" for value in values], padding=9, fontsize=8)
    _draw_paper(axis, rows)
    axis.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axis.set_xlim(0, axis.get_xlim()[1] * 1.1)  # room for the numbers
    axis.set_xlabel("NDCG@10")
    axis.set_title(
        f"Test on {Path(board['dataset']).name}, ranked among all {board['counts']['items']:,} items",
        parse_math=False,  # a name with dollars is no formula
    )
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_paper(axis: Any, rows: list[dict[str, Any]]) -> None:
    """Marks the paper's figures, hollow where they cannot come from one ranking."""
    for impossible, label in ((False, "the paper"), (True, "the paper: cannot come from one ranking")):
        published = [
            (row["paper"]["ndcg@10"], place)
            for place, row in enumerate(rows)
            if row["paper"] and cannot_be_one_ranking(row["paper"]) == impossible
        ]
        if published:
            face = "white" if impossible else COLOURS["paper"]
            marks = {"marker": "D", "s": 26, "facecolors": face, "edgecolors": COLOURS["paper"], "zorder": 3}
            axis.scatter(*zip(*published, strict=True), label=label, **marks)
