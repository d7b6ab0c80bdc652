"""The pictures of a search, as Plotly figures. Plotly reads texts as HTML, so they are escaped."""

import html
import math
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from metasgcl_tf.tuning.importance import Importance, position
from metasgcl_tf.tuning.lines import shown
from metasgcl_tf.tuning.trials import TrialResult, best_first

SYMBOLS = {
    "contrastive_weight": "α",  # noqa: RUF001
    "kl_weight": "β",
    "temperature": "τ",
    "hidden_dim": "d",
}
BLUE, RED, GREEN, GREY = "#2a6f97", "#c1121f", "#2b9348", "#8d99ae"
COLUMNS, ROW_HEIGHT = 2, 300
LAYOUT = {
    "template": "plotly_white",
    "font": {"family": "system-ui, sans-serif", "size": 13},
    "margin": {"l": 70, "r": 30, "t": 40, "b": 60},
    "hoverlabel": {"align": "left"},
}


def escaped(text: str) -> str:
    """Text as Plotly shows it as it is; it reads `&lt;`, but not `&quot;`."""
    return html.escape(text, quote=False)


def name_of(setting: str) -> str:
    """A setting as axes name it, with the paper's symbol."""
    symbol = f" ({SYMBOLS[setting]})" if setting in SYMBOLS else ""
    return escaped(setting) + symbol


def by_setting(trials: list[TrialResult], space: dict[str, Any], title: str) -> go.Figure:
    """Score by each searched setting, preset and best marked; the counterpart of the paper's Fig. 4."""
    rows = math.ceil(len(space) / COLUMNS)
    figure = make_subplots(rows, COLUMNS, vertical_spacing=0.28 / rows, horizontal_spacing=0.12)
    for place, (setting, given) in enumerate(space.items()):
        where = {"row": place // COLUMNS + 1, "col": place % COLUMNS + 1}
        for label, group, marker in marked(trials):
            points = go.Scatter(
                x=[axis_value(given, trial.values[setting]) for trial in group],
                y=[trial.score for trial in group],
                mode="markers",
                marker=marker,
                name=label,
                legendgroup=label,
                showlegend=place == 0,
                text=[described(trial) for trial in group],
                hovertemplate="%{text}<extra></extra>",
            )
            figure.add_trace(points, **where)
        figure.update_xaxes(title_text=name_of(setting), **axis(given), **where)
        figure.update_yaxes(title_text=title if place % COLUMNS == 0 else None, **where)
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    return figure.update_layout(height=ROW_HEIGHT * rows + 60, legend=legend, **LAYOUT)


def marked(trials: list[TrialResult]) -> list[tuple[str, list[TrialResult], dict[str, Any]]]:
    """`(label, trials, marker)` of those that finished: the preset is drawn last, on top."""
    done = [trial for trial in trials if trial.score is not None]
    best = best_first(done)[:1]
    preset = [trial for trial in done if trial.number == 0]
    others = [trial for trial in done if trial not in (*best, *preset)]
    groups = [
        ("other trials", others, {"color": BLUE, "size": 9, "opacity": 0.75}),
        ("best", best, {"color": GREEN, "size": 16, "symbol": "star"}),
        ("preset", preset, {"color": RED, "size": 11, "symbol": "diamond-open", "line": {"width": 2}}),
    ]
    return [group for group in groups if group[1]]


def axis_value(given: Any, value: Any) -> Any:
    """Where a value stands on its axis: its place among texts, itself among numbers."""
    return value if not isinstance(given, list) or numeric(given) else given.index(value)


def numeric(values: list[Any]) -> bool:
    """Whether a list of values has an axis of numbers."""
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def axis(given: Any) -> dict[str, Any]:
    """The axis of a setting: logarithmic where the range is, or where a list spans a factor of 8 or more."""
    if not isinstance(given, list):
        return {"type": "log", "dtick": 1} if given.get("scale") == "log" else {"type": "linear"}
    if not numeric(given):
        texts = [escaped(str(value)) for value in given]
        return {"type": "linear", "tickvals": list(range(len(given))), "ticktext": texts}
    wide = min(given) > 0 and max(given) / min(given) >= 8
    ticks = {"tickvals": given, "ticktext": [shown(value) for value in given]}
    return ticks | {"type": "log" if wide else "linear"}


def over_time(trials: list[TrialResult], title: str) -> go.Figure:
    """Score of each trial and the best so far, by the time of search."""
    done = [trial for trial in trials if trial.score is not None]
    timed = all(trial.ended is not None for trial in done)
    done.sort(key=lambda trial: trial.ended if timed else trial.number)
    places = [trial.ended / 60 if timed else trial.number for trial in done]
    best = [max(trial.score for trial in done[: place + 1]) for place in range(len(done))]
    line = {"color": GREEN, "width": 2, "shape": "hv"}
    points = {"mode": "markers", "marker": {"color": BLUE, "size": 9, "opacity": 0.75}, "name": "a trial"}
    figure = go.Figure()
    figure.add_scatter(x=places, y=best, mode="lines", line=line, name="best so far", hoverinfo="skip")
    texts = {"text": [described(trial) for trial in done], "hovertemplate": "%{text}<extra></extra>"}
    figure.add_scatter(x=places, y=[trial.score for trial in done], **points, **texts)
    if trials[0].score is not None:
        figure.add_hline(trials[0].score, line={"color": RED, "dash": "dash"}, annotation_text="preset")
    figure.update_xaxes(title_text="minutes of search" if timed else "trial", rangemode="tozero")
    figure.update_yaxes(title_text=title)
    legend = {"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0}
    return figure.update_layout(height=380, legend=legend, **LAYOUT)


def parallel(trials: list[TrialResult], space: dict[str, Any], title: str) -> go.Figure:
    """A line a trial through its values to its score."""
    done = sorted((trial for trial in trials if trial.score is not None), key=lambda trial: trial.score)
    scores = [trial.score for trial in done]
    dimensions = [parallel_axis(name, given, done) for name, given in space.items()]
    dimensions.append({"label": title, "values": scores})
    colours = {"color": scores, "colorscale": "Viridis"}
    figure = go.Figure(go.Parcoords(line=colours, dimensions=dimensions, labelfont={"size": 13}))
    return figure.update_layout(height=420, **(LAYOUT | {"margin": {"l": 90, "r": 30, "t": 70, "b": 30}}))


def parallel_axis(name: str, given: Any, trials: list[TrialResult]) -> dict[str, Any]:
    """One axis, on the scale of the range."""
    found = {"label": name_of(name), "values": [position(given, trial.values[name]) for trial in trials]}
    if isinstance(given, list):
        texts = [escaped(shown(value)) for value in given]
        return found | {"tickvals": list(range(len(given))), "ticktext": texts, "range": [0, len(given) - 1]}
    ends = [position(given, given["min"]), position(given, given["max"])]
    if given.get("scale") != "log":
        return found | {"range": ends}
    powers = [10.0**power for power in range(-9, 10) if given["min"] <= 10.0**power <= given["max"]]
    ticks = sorted({given["min"], *powers, given["max"]})
    texts = [shown(tick) for tick in ticks]
    return found | {"range": ends, "tickvals": [math.log(tick) for tick in ticks], "ticktext": texts}


def importances(found: Importance) -> go.Figure:
    """Shares as bars, the largest on top."""
    names = [name_of(name) for name in found.shares]
    shares = list(found.shares.values())
    bars = go.Bar(x=shares, y=names, orientation="h", marker_color=BLUE, text=[f"{s:.0%}" for s in shares])
    figure = go.Figure(bars.update(textposition="auto"))
    figure.update_xaxes(title_text="share of what the settings explain", tickformat=".0%", range=[0, 1])
    figure.update_yaxes(autorange="reversed", automargin=True)
    return figure.update_layout(height=110 + 36 * len(names), **LAYOUT)


def described(trial: TrialResult) -> str:
    """A trial in a few lines, where the pointer is."""
    values = "".join(f"<br>{escaped(n)} {escaped(shown(v))}" for n, v in trial.values.items())
    return f"<b>{escaped(trial.name)}</b> {trial.score:.4f}{values}"
