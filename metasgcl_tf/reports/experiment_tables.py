"""What was found of an experiment as tables: cells of text, for Markdown and HTML alike."""

import collections
import dataclasses
import statistics
from collections.abc import Sequence
from typing import Any

from metasgcl_tf.experiments import EXPERIMENTS, Row
from metasgcl_tf.names import title_of
from metasgcl_tf.reports import paper
from metasgcl_tf.reports.leaderboard import mean_and_deviation
from metasgcl_tf.reports.leaderboard_files import number
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN

HEAD = ["", "seen", *(name.upper() for name in SHOWN), "seeds", "epochs", "seconds"]
TEXT_COLUMNS = 2
NOTHING = "-"


@dataclasses.dataclass(frozen=True)
class Result:
    """One row with what there is of it.

    Attributes:
        row: of the experiment.
        planned: how many runs it should have, one a seed.
        reports: of those that are there.
        paper: the paper's figures.
    """

    row: Row
    planned: int
    reports: Sequence[dict[str, Any]]
    paper: paper.Figures | None

    def test(self, protocol: str, metric: str) -> dict[str, float | None]:
        """Mean and deviation over the runs, of which there is one at least."""
        return mean_and_deviation([report["test"][protocol][metric] for report in self.reports])

    @property
    def missing(self) -> int:
        """Runs that are not there."""
        return self.planned - len(self.reports)


@dataclasses.dataclass(frozen=True)
class Section:
    """One experiment on one log.

    Attributes:
        experiment: a key of `EXPERIMENTS`.
        data: the name of the log.
        results: a row each.
        looks: at item vectors, of Figure 6; see `metasgcl_tf.item_vectors`.
    """

    experiment: str
    data: str
    results: Sequence[Result]
    looks: Sequence[dict[str, Any]] = ()

    @property
    def title(self) -> str:
        """Of the experiment."""
        return EXPERIMENTS[self.experiment].title

    @property
    def planned(self) -> int:
        """Runs that it should have."""
        return sum(result.planned for result in self.results)

    @property
    def missing(self) -> int:
        """Runs that are not there."""
        return sum(result.missing for result in self.results)

    @property
    def there(self) -> list[Result]:
        """The rows with at least one run."""
        return [result for result in self.results if result.reports]

    @property
    def compares(self) -> bool:
        """Whether there is something to look at: item vectors, or two rows of a table or a curve."""
        if self.experiment == "fig6":
            return bool(self.looks)
        of_curves = collections.Counter(result.row.curve for result in self.there)
        return max(of_curves.values(), default=0) >= min(2, len(self.results))


def main_table(section: Section) -> list[list[str]]:
    """Rows of `HEAD`: ours under both protocols, each with its difference to the paper, then the paper's."""
    return [cells for result in section.results for cells in _rows(result)]


def _rows(result: Result) -> list[list[str]]:
    rows = []
    for protocol in PROTOCOLS if result.reports else []:
        first = protocol == PROTOCOLS[0]
        ours = [_cell(result, protocol, metric) for metric in SHOWN]
        rows.append(
            [result.row.label if first else "", protocol, *ours, *(_costs(result) if first else [""] * 3)]
        )
    if not result.reports:
        seeds = f"0 of {result.planned}"
        rows.append([result.row.label, "missing", *[NOTHING] * len(SHOWN), seeds, NOTHING, NOTHING])
    if result.paper is not None:
        mark = "*" if paper.cannot_be_one_ranking(result.paper) else ""
        rows.append(["", f"paper{mark}", *(f"{result.paper[name]:.4f}" for name in SHOWN), *[""] * 3])
    return rows


def _cell(result: Result, protocol: str, metric: str) -> str:
    """`0.0652±.0011 (+0.0010)`: ours, and in brackets how far above the paper's."""
    ours = result.test(protocol, metric)
    if result.paper is None:
        return number(**ours)
    above = round(ours["mean"] - result.paper[metric], 4) + 0.0  # not -0
    return f"{number(**ours)} ({above:+.4f})"


def _costs(result: Result) -> list[str]:
    """Seeds, epochs and seconds, the last two of one run."""
    seeds = f"{len(result.reports)} of {result.planned}" if result.missing else str(result.planned)
    epochs = [report["epochs_trained"] for report in result.reports if report.get("epochs_trained")]
    seconds = statistics.fmean(report["seconds"] for report in result.reports)
    return [seeds, f"{statistics.fmean(epochs):.0f}" if epochs else NOTHING, f"{seconds:,.0f}"]


def curve_table(section: Section) -> tuple[list[str], list[list[str]]]:
    """Of Figure 5, test NDCG@10 of each model over its own without noise: `(head, rows)`."""
    curves = curves_of(section)
    places = sorted({result.row.at for results in curves.values() for result in results})
    head = ["", "seen", *(f"{place:g} %" for place in places)]
    rows = []
    for curve, results in curves.items():
        at = {result.row.at: result for result in results if result.reports}
        for protocol in PROTOCOLS if 0 in at else ():
            ndcg = {place: found.test(protocol, "ndcg@10")["mean"] for place, found in at.items()}
            cells = [
                f"{ndcg[place] / ndcg[0]:.1%}" if ndcg.get(place) and ndcg[0] else NOTHING for place in places
            ]
            rows.append([curve if protocol == PROTOCOLS[0] else "", protocol, *cells])
    return head, rows


def curves_of(section: Section) -> dict[str, list[Result]]:
    """The points of each curve or panel, in order."""
    found: dict[str, list[Result]] = {}
    for result in section.results:
        if result.row.at is not None:
            found.setdefault(result.row.curve, []).append(result)
    return found


def vectors_table(section: Section) -> tuple[list[str], list[list[str]]]:
    """Of Figure 6: `(head, rows)`."""
    head = ["", "alignment", "uniformity", "2nd singular value / 1st", "10th / 1st"]
    rows = []
    for look in section.looks:
        spectrum = look["spectrum"]
        shares = [f"{spectrum[at]:.3f}" if at < len(spectrum) else NOTHING for at in (1, 9)]
        figures = [f"{look[name]:.3f}" for name in ("alignment", "uniformity")]
        rows.append([f"{title_of(look['model'])}, seed {look['seed']}", *figures, *shares])
    return head, rows


def notes_of(section: Section) -> list[str]:
    """What has to be said below the tables of a section."""
    notes = []
    if section.missing:
        notes.append(f"Missing: {section.missing} of {section.planned} runs.")
    impossible = {
        result.row.label: result.paper
        for result in section.results
        if result.paper is not None and paper.cannot_be_one_ranking(result.paper)
    }
    if impossible:
        shown = "; ".join(f"{label}: {paper.arithmetic(values)}" for label, values in impossible.items())
        notes.append(
            "* cannot come from one ranking: (NDCG@10 - NDCG@5) / (HR@10 - HR@5) must lie between "
            f".289 and .356, within the rounding of the digits. {shown}."
        )
    return notes
