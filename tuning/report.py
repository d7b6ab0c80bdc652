"""The report of a search: `report.html`, which opens from disk, and HParams for TensorBoard."""

import html
from pathlib import Path
from string import Template
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from metasgcl_tf.config import build_config
from metasgcl_tf.errors import InputError
from metasgcl_tf.files import write_whole
from metasgcl_tf.names import data_name, name_of, title_of
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN, tested
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.tuning import figures
from metasgcl_tf.tuning.best import RUN, verdict
from metasgcl_tf.tuning.hparams import write_hparams
from metasgcl_tf.tuning.importance import FEWEST, importance
from metasgcl_tf.tuning.lines import duration, objective_title, shown
from metasgcl_tf.tuning.search import read_search
from metasgcl_tf.tuning.trials import TrialResult, best_first, read_trials

FILE, TENSORBOARD = "report.html", "tensorboard"
PAGE = Template((Path(__file__).parent / "report.html").read_text(encoding="utf-8"))


def write_report(folder: Path) -> list[Path]:
    """Draws what a folder of `metasgcl tune` holds so far, from its JSON files alone.

    Returns:
        What was written: the page, and the folder for TensorBoard.

    Raises:
        InputError: there is no search, or no trial that finished yet.
    """
    search = read_search(folder)
    trials = read_trials(folder, search["objective"], list(search["space"])) if search else []
    if all(trial.score is None for trial in trials):
        raise InputError(f"A report needs a trial that finished. Received: {str(folder)!r}, which has none.")
    write_whole(folder / FILE, page(search, trials, read_metrics(folder / RUN)))
    write_hparams(search, trials, folder / TENSORBOARD)
    return [folder / FILE, folder / TENSORBOARD]


def page(search: dict[str, Any], trials: list[TrialResult], best_run: dict[str, Any]) -> str:
    """The page as HTML.

    Args:
        search: `search.json`.
        trials: one of them finished.
        best_run: `metrics.json` of the best configuration's run; empty before it is trained.
    """
    config, objective = build_config(search["config"]), objective_title(search["objective"])
    title = figures.escaped(objective)
    space = search["space"]
    model = title_of(name_of(config.training))
    return PAGE.substitute(
        title=html.escape(f"{model} on {data_name(config.data.data)}: what the search found"),
        verdict=html.escape(verdict(trials, search["objective"])),
        facts=facts(search, trials),
        by_setting=picture(figures.by_setting(trials, space, title)),
        over_time=picture(figures.over_time(trials, title)),
        parallel=picture(figures.parallel(trials, space, title)),
        importance=importance_section(trials, space),
        test=test_section(best_run),
        trials=trials_table(trials, list(space), objective),
        command=html.escape(str(search.get("command", ""))),
        provenance=html.escape(provenance_line(search)),
        plotly=get_plotlyjs(),
    )


def picture(figure: go.Figure) -> str:
    """A figure as a part of the page; Plotly itself is there once."""
    return figure.to_html(full_html=False, include_plotlyjs=False, config={"displayModeBar": False})


def facts(search: dict[str, Any], trials: list[TrialResult]) -> str:
    """How the trials were made, in a sentence or two."""
    training = build_config(search["config"]).training
    done = [trial for trial in trials if trial.score is not None]
    failed = sum(trial.status == "FAILED" for trial in trials)
    epochs = search["epochs"] or training.epochs
    sizes = "{users:,} users, {items:,} items, {interactions:,} interactions".format(**search["counts"])
    return html.escape(
        f"{len(trials)} trials by {search['tuner']} search: {len(done)} finished, {failed} failed; at most "
        f"{epochs} epochs each, {duration(sum(trial.seconds for trial in trials))} of training in all; seed "
        f"of trial n: {training.seed} + n. {sizes}. The score is {objective_title(search['objective'])}, the "
        "best epoch's. One seed a trial: another seed moves a score as well, so small differences say little."
    )


def importance_section(trials: list[TrialResult], space: dict[str, Any]) -> str:
    """Importances as bars, with what they are worth."""
    found = importance(trials, space)
    if found is None:
        return f"<p>Needs {FEWEST} finished trials whose scores differ.</p>"
    worth = (
        "How much worse a random forest predicts the scores when one setting is shuffled (permutation "
        "importance), as shares. For trials that it has not seen, the forest explains "
        f"{max(0.0, found.explained):.0%} of the variance of scores"
    )
    worth += "." if found.explained > 0.2 else ": too little to rely on the shares."
    return picture(figures.importances(found)) + f"<p>{worth}</p>"


def table(head: list[str], rows: list[list[str]], classes: list[str] | None = None) -> str:
    """Cells of text as an HTML table."""
    classes = classes or [""] * len(rows)
    lines = [
        "<table><thead><tr>",
        *(f"<th>{html.escape(cell)}</th>" for cell in head),
        "</tr></thead><tbody>",
    ]
    for row, style in zip(rows, classes, strict=True):
        lines.append(f'<tr class="{style}">' + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>")
    return "".join([*lines, "</tbody></table>"])


def test_section(report: dict[str, Any]) -> str:
    """Test numbers of the best configuration, trained on the whole budget, beside what needs no training."""
    if not report:
        return "<p>The best configuration is not trained on the whole budget yet.</p>"
    rows = [
        [title_of(name) if seen == "masked" else "", seen, *(f"{values[seen][n]:.4f}" for n in SHOWN)]
        for name, values in tested(report).items()
        for seen in PROTOCOLS
    ]
    head = ["model", "seen items", *(name.upper() for name in SHOWN)]
    note = (
        f"Seed {report['seed']}, {report['seconds']:,.0f} s; validation NDCG@10, masked: "
        f"{report['valid']['masked']['ndcg@10']:.4f}. {report['protocol']}."
    )
    return table(head, rows) + f"<p>{html.escape(note)}</p>"


def trials_table(trials: list[TrialResult], settings: list[str], title: str) -> str:
    """Every trial, the best first, then those that did not finish, and why they did not."""
    rows, classes = [], []
    for rank, trial in enumerate(best_first(trials), start=1):
        done = trial.score is not None
        scored = f"{trial.score:.4f}" if done else trial.status.lower()
        epochs = f"{trial.best_epoch} of {trial.epochs}" if done else ""
        name = trial.name + (" (preset)" if trial.number == 0 else "")
        values = [shown(trial.values[name]) for name in settings]
        rows.append([str(rank) if done else "", name, scored, *values, epochs, duration(trial.seconds)])
        classes.append("best" if rank == 1 else "failed" if trial.status == "FAILED" else "")
    reasons = [f"<li>{html.escape(f'{t.name}: {t.reason}')}</li>" for t in trials if t.reason]
    why = f"<p>Why trials failed:</p><ul>{''.join(reasons)}</ul>" if reasons else ""
    return table(["", "trial", title, *settings, "best epoch", "took"], rows, classes) + why


def provenance_line(search: dict[str, Any]) -> str:
    """Commit, versions and machine."""
    versions = ", ".join(f"{name} {version}" for name, version in search.get("versions", {}).items())
    return f"{search.get('machine')}; {versions}; commit {search.get('commit') or 'unknown'}"
