"""A report of experiments as files: `report.html`, which needs nothing else, `report.md` and its figures."""

import html
from collections.abc import Sequence
from pathlib import Path
from string import Template
from typing import Any

from metasgcl_tf.files import write_whole
from metasgcl_tf.reports import experiment_tables as tables
from metasgcl_tf.reports import paper
from metasgcl_tf.reports.experiment_figures import as_file, figure_of
from metasgcl_tf.reports.experiment_runs import RUNS_HEAD, RUNS_TEXT_COLUMNS, runs_table
from metasgcl_tf.reports.experiment_tables import Section
from metasgcl_tf.reports.markdown import code, markdown_table, plain
from metasgcl_tf.results import without_folders

PAGE = Template((Path(__file__).parent / "experiments.html").read_text(encoding="utf-8"))
TITLE = "Meta-SGCL: the tables and figures of the paper, measured"
FIGURES = "figures"
Table = tuple[list[str], list[list[str]], int]  # head, rows, columns of text


def write_report(
    sections: Sequence[Section], failures: Sequence[dict[str, Any]], made: dict[str, Any], folder: Path
) -> list[Path]:
    """Writes the page, the same as Markdown, and a file for each figure.

    Of a section with nothing to compare yet the notes alone tell.

    Args:
        sections: an experiment on a log each.
        failures: runs that failed, `{"run": ..., "reason": ...}`.
        made: of `metasgcl_tf.provenance.made_by`.
        folder: to write to.

    Returns:
        The page and the Markdown.

    Raises:
        OSError: a file cannot be written.
    """
    shown = [section for section in sections if section.compares]
    drawn = [figure_of(section) for section in shown]
    (folder / FIGURES).mkdir(exist_ok=True)
    for section in sections:
        figure_path(folder, section).unlink(missing_ok=True)  # of an earlier report
    for section, svg in zip(shown, drawn, strict=True):
        if svg is not None:
            write_whole(figure_path(folder, section), as_file(svg))
    said = general_notes(sections, failures, made)
    written = {"report.html": page(shown, drawn, said), "report.md": markdown(shown, drawn, said)}
    for name, text in written.items():
        write_whole(folder / name, text)
    return [folder / name for name in written]


def figure_path(folder: Path, section: Section) -> Path:
    """Where the figure of a section is."""
    return folder / FIGURES / f"{section.data}-{section.experiment}.svg"


def general_notes(
    sections: Sequence[Section], failures: Sequence[dict[str, Any]], made: dict[str, Any]
) -> list[str]:
    """What holds for all tables, one paragraph each."""
    runs = [report for section in sections for result in section.results for report in result.reports]
    notes = [
        "Test items, each ranked among all. masked: items the user has seen are no candidates; kept: they "
        "are. In brackets: ours less the paper's figure in the same table. ± is the standard deviation over "
        "seeds; without it there is one seed, and another one may change the order of rows that are close. "
        "Epochs and seconds are those of one run. The epoch is chosen on validation items.",
        paper.note(paper.ALL_TABLES),
        f"Made by {without_folders(made['command'])} at commit {made['commit']}.",
    ]
    if runs:
        notes.insert(0, f"Protocol: {runs[0].get('protocol') or 'leave-one-out, full ranking'}.")
    left = [
        f"{section.title} ({section.data}, {len(section.there)} of {len(section.results)} rows)"
        for section in sections
        if not section.compares
    ]
    if left:
        notes.append(f"Left out, as there is nothing to compare yet: {'; '.join(left)}.")
    return notes + [f"Failed: {failure['run']}: {failure['reason']}" for failure in failures]


def tables_of(section: Section) -> list[tuple[str, Table]]:
    """The tables of a section, each with what it shows."""
    found = [("", (tables.HEAD, tables.main_table(section), tables.TEXT_COLUMNS))]
    if section.experiment == "fig5" and (more := tables.curve_table(section))[1]:
        found.append(("NDCG@10 as a share of that without noise", (*more, 2)))
    if section.looks:
        found.append(
            (
                "Item vectors on the unit sphere, and their singular values",
                (*tables.vectors_table(section), 1),
            )
        )
    return found


def markdown(sections: Sequence[Section], drawn: Sequence[str | None], said: Sequence[str]) -> str:
    """The report as Markdown; its figures are files beside it."""
    parts = [f"# {TITLE}"]
    for section, svg in zip(sections, drawn, strict=True):
        parts.append(f"## {plain(section.title)} ({plain(section.data)})")
        if svg is not None:
            parts.append(f"![{plain(section.title)}](<{figure_path(Path(), section).as_posix()}>)")
        for caption, (head, rows, text) in tables_of(section):
            cells = [[plain(cell) for cell in row] for row in rows]
            parts += [*([f"{caption}:"] if caption else []), markdown_table(head, cells, text)]
        parts += map(plain, tables.notes_of(section))
    rows = [[*map(plain, row[:-1]), code(row[-1])] for row in runs_table(sections)]
    parts += ["## Reading the tables", *map(plain, said), "## Runs"]
    return "\n\n".join([*parts, markdown_table(RUNS_HEAD, rows, RUNS_TEXT_COLUMNS)]) + "\n"


def page(sections: Sequence[Section], drawn: Sequence[str | None], said: Sequence[str]) -> str:
    """The report as one HTML file."""
    parts, links = [], []
    for section, svg in zip(sections, drawn, strict=True):
        name = html.escape(f"{section.data}-{section.experiment}")
        heading = html.escape(f"{section.title} ({section.data})")
        links.append(f'<a href="#{name}">{heading}</a>')
        parts.append(f'<h2 id="{name}">{heading}</h2>')
        parts += [] if svg is None else [f'<div class="wide figure">{svg}</div>']
        for caption, table in tables_of(section):
            parts += [f"<p>{html.escape(caption)}</p>"] if caption else []
            parts.append(html_table(*table))
        parts += [f"<p>{html.escape(note)}</p>" for note in tables.notes_of(section)]
    return PAGE.substitute(
        title=html.escape(TITLE),
        links="\n".join(f"<li>{link}</li>" for link in links),
        body="\n".join(parts),
        notes="\n".join(f"<p>{html.escape(note)}</p>" for note in said),
        runs=html_table(RUNS_HEAD, runs_table(sections), RUNS_TEXT_COLUMNS),
    )


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """A table that scrolls sideways on a narrow screen; the paper's rows and missing ones stand back."""

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = ["" if place < text_columns else ' class="n"' for place in range(len(row))]
        return "".join(f"<{tag}{kind}>{_split(cell)}</{tag}>" for kind, cell in zip(kinds, row, strict=True))

    lines = [f"<tr>{cells('th', head)}</tr>"]
    for row in rows:
        kind = "paper" if row[1].startswith("paper") else "missing" if row[1] == "missing" else ""
        kind += " first" if row[0] else ""
        lines.append(f'<tr class="{kind.strip()}">{cells("td", row)}</tr>')
    return '<div class="wide"><table>' + "\n".join(lines) + "</table></div>"


def _split(cell: str) -> str:
    """A cell whose difference, in brackets at its end, is set apart."""
    value, bracket, difference = cell.rpartition(" (")
    if not bracket or difference[:1] not in "+-" or not difference.endswith(")"):
        return html.escape(cell)
    kind = "up" if difference.startswith("+") else "down"
    return f'{html.escape(value)} <small class="{kind}">{html.escape(difference[:-1])}</small>'
