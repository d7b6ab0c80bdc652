"""The figures of a report as SVG for a page; matplotlib (extra `report`) is imported when one is drawn."""

import functools
import io
import math
import re
from collections.abc import Callable, Sequence
from typing import Any

from metasgcl_tf.experiments import SYMBOLS
from metasgcl_tf.names import title_of
from metasgcl_tf.reports.experiment_tables import Result, Section, curves_of
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN

# Legible on white and on black; of protocols, and of models.
COLOURS = {"masked": "#3d8bd4", "kept": "#dd8a2e"}
SERIES = ("#3d8bd4", "#dd8a2e", "#35a06c", "#b56bc9")
INK = "#010203"  # becomes the colour of the page's text
METRICS = ("hr@10", "ndcg@10")


def figure_of(section: Section) -> str | None:
    """The SVG of a section; None where the paper has a table, or there is nothing to draw.

    Raises:
        ImportError: there is no matplotlib.
    """
    draw = DRAWN.get(section.experiment)
    if draw is None or not (section.looks if section.experiment == "fig6" else section.there):
        return None
    import matplotlib
    from matplotlib.figure import Figure

    settings = {
        **{"svg.fonttype": "none", "svg.hashsalt": f"{section.data}-{section.experiment}"},
        **dict.fromkeys(
            ("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), INK
        ),
        **{"font.size": 9, "axes.titlesize": 10, "axes.spines.top": False, "axes.spines.right": False},
        **{"axes.facecolor": "none", "font.family": "sans-serif"},
    }
    with matplotlib.rc_context(settings):
        figure = Figure(layout="constrained", facecolor="none")
        draw(section, figure)
        file = io.StringIO()
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return inline(file.getvalue(), f"{section.title}, {section.data}")


def inline(svg: str, title: str) -> str:
    """An SVG file as an element of a page that takes its text colour and width from it."""
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1)
    svg = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", svg, count=1)
    label = title.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return svg.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)


def as_file(svg: str) -> str:
    """The same as a file of its own: dark on white, wherever it is shown."""
    start = '<?xml version="1.0" encoding="utf-8"?>\n'
    return start + svg.replace("<svg", '<svg style="background:#fff;color:#222"', 1)


def bars(section: Section, figure: Any) -> None:
    """Figure 3: a group of bars for each metric, a panel for each protocol."""
    figure.set_size_inches(8, 3)
    results = section.there
    for axis, protocol in zip(figure.subplots(1, 2), PROTOCOLS, strict=True):
        for place, result in enumerate(results):
            values = [result.test(protocol, metric) for metric in SHOWN]
            width = 0.8 / len(results)
            found = axis.bar(
                [metric + place * width for metric in range(len(SHOWN))],
                [value["mean"] for value in values],
                width,
                yerr=[_or_nan(value["std"]) for value in values],
                ecolor=INK,
                color=SERIES[place],
                label=result.row.label,
            )
            axis.bar_label(found, [f"{value['mean']:.4f}" for value in values], fontsize=6.5, padding=2)
        axis.set_xticks(
            [place + 0.4 - 0.4 / len(results) for place in range(len(SHOWN))], map(str.upper, SHOWN)
        )
        axis.set_title(f"seen items {protocol}")
        axis.margins(y=0.15)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)


def sensitivity(section: Section, figure: Any) -> None:
    """Figure 4: a column for each setting, a row for each metric, a line for each protocol."""
    panels = curves_of(section)
    figure.set_size_inches(9, 4.6)
    axes = figure.subplots(len(METRICS), len(panels), sharey="row", squeeze=False)
    for metric, row in zip(METRICS, axes, strict=True):
        for axis, (curve, results) in zip(row, panels.items(), strict=True):
            for protocol in PROTOCOLS:
                line(axis, results, lambda r, p=protocol, m=metric: r.test(p, m), COLOURS[protocol], protocol)
            axis.set_xscale("log", base=2 if curve == "hidden_dim" else 10)
            places = [result.row.at for result in results]
            axis.set_xticks(places, [f"{place:g}" for place in places], fontsize=7, rotation=45)
            axis.minorticks_off()
            axis.set_xlabel(SYMBOLS[curve] if metric == METRICS[-1] else "")
        row[0].set_ylabel(metric.upper())
    figure.align_xlabels()
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)


def noise(section: Section, figure: Any) -> None:
    """Figure 5: NDCG@10 against noise and, below, over that without noise; a panel for each protocol."""
    figure.set_size_inches(8.5, 5)
    axes = figure.subplots(2, len(PROTOCOLS), sharex=True, sharey="row")
    for column, protocol in enumerate(PROTOCOLS):
        for colour, (curve, results) in zip(SERIES, curves_of(section).items(), strict=False):
            ndcg = functools.partial(ndcg_over, protocol=protocol)
            clean = next((ndcg(r)["mean"] for r in results if r.row.at == 0 and r.reports), None)
            line(axes[0][column], results, ndcg, colour, curve)
            if clean:
                line(axes[1][column], results, functools.partial(ndcg, clean=clean / 100), colour, curve)
        axes[0][column].set_title(f"seen items {protocol}")
        axes[1][column].set_xlabel("noise in the training sequences, %")
    axes[0][0].set_ylabel("NDCG@10")
    axes[1][0].set_ylabel("% of NDCG@10 without noise")
    figure.legend(*axes[0][0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)


def line(axis: Any, results: Sequence[Result], value: Callable, colour: str, label: str) -> None:
    """One curve through the points that are there, with the deviation over seeds."""
    points = [(result.row.at, value(result)) for result in results if result.reports]
    axis.errorbar(
        [place for place, _ in points],
        [found["mean"] for _, found in points],
        yerr=[_or_nan(found["std"]) for _, found in points],
        color=colour,
        marker="o",
        markersize=3.5,
        capsize=2,
        label=label,
    )


def ndcg_over(result: Result, protocol: str, clean: float = 1.0) -> dict[str, float | None]:
    """Mean and deviation of test NDCG@10, over that without noise."""
    found = result.test(protocol, "ndcg@10")
    return {name: None if value is None else value / clean for name, value in found.items()}


def vectors(section: Section, figure: Any) -> None:
    """Figure 6: the items of the first seed of each model in a plane, and the spectra."""
    looks = list({look["model"]: look for look in reversed(section.looks)}.values())[::-1]
    figure.set_size_inches(3.4 * (len(looks) + 1), 3.3)
    axes = figure.subplots(1, len(looks) + 1, squeeze=False)[0]
    for axis, colour, look in zip(axes, SERIES, looks, strict=False):
        x, y = zip(*look["points"], strict=True)
        popularity = [math.log10(count + 1) for count in look["popularity"]]
        # Thousands of dots are a picture within the SVG: as many elements would be megabytes.
        dots = axis.scatter(x, y, c=popularity, s=4, cmap="viridis", linewidths=0, rasterized=True)
        figures = f"alignment {look['alignment']:.3f}, uniformity {look['uniformity']:.3f}"
        axis.set_title(f"{title_of(look['model'])}\n{figures}")
        axis.tick_params(labelsize=7)
        places = range(1, len(look["spectrum"]) + 1)
        axes[-1].plot(places, look["spectrum"], color=colour, label=title_of(look["model"]))
    figure.colorbar(
        dots, ax=axes[: len(looks)].tolist(), location="bottom", shrink=0.5, label="log10 popularity"
    )
    axes[-1].set_title("singular values over the largest")
    axes[-1].set_yscale("log")
    axes[-1].legend(frameon=False)


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


DRAWN: dict[str, Callable[[Section, Any], None]] = {
    "fig3": bars,
    "fig4": sensitivity,
    "fig5": noise,
    "fig6": vectors,
}
