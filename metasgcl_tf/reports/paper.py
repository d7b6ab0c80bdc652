"""The paper's figures, to stand beside ours: Tables I to VII of arXiv 2310.13925, read from `paper/`."""

import functools
import math
from pathlib import Path
from typing import Any

import polars as pl

from metasgcl_tf.models import MODELS

SOURCE = "arXiv 2310.13925, Tables II and III"
ALL_TABLES = "arXiv 2310.13925, Tables II to VII"
FOLDER = Path(__file__).parent / "paper"
METRICS = ("HR@5", "HR@10", "NDCG@5", "NDCG@10")
# Our name of a variant -> the paper's, in Table III.
ABLATIONS = {"meta_sgcl:no_cl": "-cl", "meta_sgcl:no_kl": "-kl", "meta_sgcl:no_cl_kl": "-clkl"}
# The tables whose second column is the key of a row.
KEYED = {
    "table3": "table3_ablation.csv",
    "table4": "table4_heads.csv",
    "table5": "table5_temperature.csv",
    "table6": "table6_dropout.csv",
    "table7": "table7_similarity.csv",
}
# 1 / log2(rank + 1) at the ranks 10 and 6.
SMALLEST_GAIN, LARGEST_GAIN = 1 / math.log2(11), 1 / math.log2(7)

Figures = dict[str, float]


@functools.cache
def tables() -> dict[str, dict[str, Figures]]:
    """Data set -> model (a title of Table II, a variant of Table III) -> `{"hr@5": ..., "ndcg@10": ...}`."""
    overall = pl.read_csv(FOLDER / "table2_overall.csv").pivot("metric", index=["dataset", "model"])
    ablation = pl.read_csv(FOLDER / "table3_ablation.csv").rename({"variant": "model"})
    found: dict[str, dict[str, Figures]] = {}
    for row in pl.concat([overall, ablation.select(overall.columns)]).iter_rows(named=True):
        values = {metric.lower(): row[metric] for metric in METRICS}
        found.setdefault(row["dataset"], {})[row["model"]] = values
    return found


def dataset_of(counts: dict[str, Any]) -> str | None:
    """The paper's name of a log, known by its sizes (Table I), whatever its file is called; or None."""
    sizes = ("users", "items", "interactions")
    for row in pl.read_csv(FOLDER / "table1_datasets.csv").iter_rows(named=True):
        if all(row[size] == counts.get(size) for size in sizes):
            return row["dataset"]
    return None


def figures(dataset: str | None, name: str) -> Figures | None:
    """The paper's test figures of what we call `name`; None where it has none.

    Args:
        dataset: from `dataset_of`.
        name: such as `sasrec` or `meta_sgcl:no_cl`, see `metasgcl_tf.names`.
    """
    wanted = ABLATIONS.get(name) or (MODELS[name].title if name in MODELS else None)
    return _of_model(dataset, wanted)


def row_of(dataset: str | None, table: str, key: str | None) -> Figures | None:
    """The paper's test figures in one row of one table; None where it has none.

    Args:
        dataset: from `dataset_of`.
        table: `"table2"` to `"table7"`; anything else has no rows.
        key: what the table calls the row, such as `"Meta-SGCL"`, `"-cl"`, `"0.05"` or `"cos"`.
    """
    if table == "table2":
        return _of_model(dataset, key)
    return _keyed(table).get((dataset, key))


def _of_model(dataset: str | None, title: str | None) -> Figures | None:
    """The figures of a title of Table II or a variant of Table III, however it is hyphenated."""
    models = tables().get(dataset or "", {})
    return next((found for model, found in models.items() if _plain(model) == _plain(title or "")), None)


@functools.cache
def _keyed(table: str) -> dict[tuple[str, str], Figures]:
    """`(data set, key)` -> figures, of a table of `KEYED`."""
    if table not in KEYED:
        return {}
    rows = pl.read_csv(FOLDER / KEYED[table], infer_schema=False).rows()
    return {
        (dataset, key): {metric.lower(): float(value) for metric, value in zip(METRICS, values, strict=True)}
        for dataset, key, *values in rows
    }


def _plain(title: str) -> str:
    """BPR-MF and BPRMF are one model; -cl and -clkl are two variants."""
    return title if title.startswith("-") else title.replace("-", "").lower()


def cannot_be_one_ranking(values: Figures) -> bool:
    """Whether no ranking has these four figures, not even before they were rounded to four digits."""
    rounding = 1e-4  # of a difference of two such numbers
    gain, users = values["ndcg@10"] - values["ndcg@5"], values["hr@10"] - values["hr@5"]
    too_small = gain + rounding < SMALLEST_GAIN * (users - rounding)
    return too_small or gain - rounding > LARGEST_GAIN * (users + rounding)


def arithmetic(values: Figures) -> str:
    """The quotient that shows whether these figures can come from one ranking, written out."""
    gain, users = values["ndcg@10"] - values["ndcg@5"], values["hr@10"] - values["hr@5"]
    quotient = f"{gain / users:.3f}" if users else "no number"
    return (
        f"({values['ndcg@10']:.4f} - {values['ndcg@5']:.4f}) / ({values['hr@10']:.4f} - {values['hr@5']:.4f})"
        f" = {quotient}"
    )


def note(source: str = SOURCE) -> str:
    """What has to be said wherever these figures are shown, of which tables."""
    overall = [
        values
        for models in tables().values()
        for model, values in models.items()
        if not model.startswith("-") and model != "full"
    ]
    marked = sum(map(cannot_be_one_ranking, overall))
    return (
        f"paper: {source}; it does not say whether seen items were masked. Its figures for Meta-SGCL on "
        "ML-1M and Clothing cannot come from one ranking: (NDCG@10 - NDCG@5) / (HR@10 - HR@5) must lie "
        "between .289 and .356, and is .282 and .269 there. Such rows are marked *; "
        f"{marked} of the {len(overall)} in Table II are."
    )
