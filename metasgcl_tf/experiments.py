"""What each table and figure of the paper measures: which runs, and which of its rows stands beside each."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from metasgcl_tf.errors import require_known
from metasgcl_tf.models import MODELS
from metasgcl_tf.names import HYBRID, title_of

ALL = "all"
OURS = "meta_sgcl"
NOISES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
PAPERS_WORDS = {"cosine": "cos"}  # of Table VII

Base = Callable[[str], Mapping[str, Any]]  # name of what is trained -> its configuration without changes


@dataclasses.dataclass(frozen=True)
class Row:
    """One row of a table, or one point of a figure.

    Attributes:
        label: what the table calls it.
        name: of what is trained, see `metasgcl_tf.names`.
        settings: configuration keys over those that all rows have.
        paper: the key of the paper's row; None where it has none.
        curve: of a figure, which curve or panel the point belongs to.
        at: where on it.
    """

    label: str
    name: str
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    paper: str | None = None
    curve: str = ""
    at: float | None = None


@dataclasses.dataclass(frozen=True)
class Experiment:
    """A table or figure: its title, and its rows given the configuration that they change."""

    title: str
    rows: Callable[[Base], list[Row]]


def overall(_: Base) -> list[Row]:
    """Every model, and the hybrid of ours."""
    return [Row(title_of(name), name, paper=title_of(name)) for name in (*MODELS, HYBRID + OURS)]


def ablation(_: Base) -> list[Row]:
    """Without contrast, without KL, without either; and the whole."""
    rows = {"no_cl_kl": "-clkl", "no_cl": "-cl", "no_kl": "-kl"}
    parts = [Row(f"{paper} ({name})", f"{OURS}:{name}", paper=paper) for name, paper in rows.items()]
    return [*parts, Row("full", OURS, paper="full")]


def updates(_: Base) -> list[Row]:
    """One joint update against two steps."""
    return [Row("joint", f"{OURS}:joint"), Row("two-step", OURS)]


def varied(values: Mapping[str, Sequence[Any]], base: Base) -> list[Row]:
    """Ours with each value of each setting, and with the value that it has anyway."""
    rows = []
    for key, wanted in values.items():
        own = base(OURS)[key]
        steps = wanted if own in wanted else [*wanted, own]
        steps = steps if isinstance(own, str) else sorted(steps)
        for value in steps:
            shown = value if isinstance(value, str) else f"{value:g}"
            label = f"{key} {shown}" + (" (preset)" if value == own else "")
            at = None if isinstance(value, str) else float(value)
            rows.append(Row(label, OURS, {key: value}, PAPERS_WORDS.get(shown, shown), key, at))
    return rows


def noise(_: Base) -> list[Row]:
    """Three models, each with more and more random items in its training sequences."""
    names = (OURS, "sasrec", "duorec")
    return [
        Row(f"{title_of(name)}, {share:.0%} noise", name, {"noise": share}, None, title_of(name), 100 * share)
        for name in names
        for share in NOISES
    ]


def embeddings(_: Base) -> list[Row]:
    """Whose item vectors are looked at."""
    return [Row(title_of(name), name) for name in ("sasrec", OURS)]


SENSITIVITY = {
    "contrastive_weight": (0.01, 0.03, 0.05, 0.1, 0.3),
    "kl_weight": (0.001, 0.01, 0.1, 0.2, 0.3, 0.5),
    "hidden_dim": (32, 64, 128, 256, 512),
}
SYMBOLS = {
    "contrastive_weight": "alpha (contrastive_weight)",
    "kl_weight": "beta (kl_weight)",
    "hidden_dim": "d (hidden_dim)",
}


def _one(key: str, *values: Any) -> Callable[[Base], list[Row]]:
    return functools.partial(varied, {key: values})


EXPERIMENTS: dict[str, Experiment] = {
    "table2": Experiment("Table II: all models", overall),
    "table3": Experiment("Table III: what the parts of Meta-SGCL bring", ablation),
    "table4": Experiment("Table IV: attention heads", _one("num_heads", 1, 2, 4, 8)),
    "table5": Experiment("Table V: temperature", _one("temperature", 0.05, 0.1, 0.5, 1.0, 2.0, 5.0)),
    "table6": Experiment("Table VI: dropout", _one("dropout", 0.0, 0.1, 0.2, 0.3, 0.4)),
    "table7": Experiment("Table VII: similarity", _one("similarity", "dot", "cosine")),
    "fig3": Experiment("Figure 3: joint and two-step update", updates),
    "fig4": Experiment("Figure 4: alpha, beta and d", functools.partial(varied, SENSITIVITY)),
    "fig5": Experiment("Figure 5: noise in the training sequences", noise),
    "fig6": Experiment("Figure 6: item embeddings", embeddings),
}


def chosen(names: Sequence[str]) -> list[str]:
    """The experiments that a list names, in the paper's order.

    Raises:
        InputError: there is no such experiment.
    """
    for name in names or [""]:
        require_known("experiment", name, [*EXPERIMENTS, ALL])
    return [name for name in EXPERIMENTS if name in names or ALL in names]
