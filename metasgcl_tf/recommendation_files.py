"""Files of recommendations: histories and titles to read, answers to write."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from metasgcl_tf.data.columns import ColumnError, Columns
from metasgcl_tf.data.readers import read_interactions
from metasgcl_tf.errors import InputError, require


def read_histories(
    path: str | os.PathLike, columns: Columns | None = None, otherwise: Columns | None = None
) -> dict[Any, list[Any]]:
    """Histories by user from any file that `read_interactions` reads, oldest first.

    Args:
        path: the file.
        columns: of a table; without any, those of `otherwise` that the training log had, or usual names.
        otherwise: see `columns`.
    """
    try:
        frame = read_interactions(path, columns or otherwise)
    except ColumnError:
        if columns is not None:
            raise
        frame = read_interactions(path)  # another format than the log's, or a table with other columns
    if "time" in frame.columns:
        frame = frame.sort("time", maintain_order=True)
    grouped = frame.group_by("user", maintain_order=True).agg("item")
    return dict(zip(grouped["user"].to_list(), grouped["item"].to_list(), strict=True))


def read_titles(path: str | os.PathLike) -> dict[str, str]:
    """Titles by raw item id (as text) from a CSV or TSV file with the columns item and title.

    Raises:
        InputError: no such file, not a table, or a column is missing.
    """
    separator = "\t" if Path(path).suffix == ".tsv" else ","
    try:
        frame = pl.read_csv(
            Path(path), separator=separator, infer_schema=False, quote_char=None if separator == "\t" else '"'
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"`titles` should be a CSV or TSV file. Received: {path} ({reason}).") from None
    if not {"item", "title"} <= set(frame.columns):
        raise InputError(
            f"`titles` should have the columns item and title. Received: {frame.columns} in {path}."
        )
    return dict(zip(frame["item"], frame["title"].fill_null(""), strict=True))


def with_titles(found: pl.DataFrame, titles: Mapping[str, str]) -> pl.DataFrame:
    """Recommendations with a column `title` after the items, empty where there is none."""
    named = [titles.get(str(item), "") for item in found["item"]]
    return found.insert_column(found.get_column_index("item") + 1, pl.Series("title", named, pl.String))


def check_out(out: str | os.PathLike, inputs: Sequence[str | os.PathLike]) -> None:
    """Whether recommendations may be written there, to know before they are made.

    Args:
        out: the file.
        inputs: files it must not replace.

    Raises:
        InputError: its name does not end in .parquet or .csv, or it is one of the inputs.
    """
    out = Path(out)
    require(out.suffix in (".parquet", ".csv"), "out", "a file that ends in .parquet or .csv", str(out))
    if out.exists() and any(out.samefile(source) for source in inputs if Path(source).exists()):
        raise InputError(f"`out` should be another file than those read. Received: {str(out)!r}.")


def write_recommendations(found: pl.DataFrame, path: str | os.PathLike) -> None:
    """Writes recommendations as a Parquet file where its name ends in .parquet, as a CSV file otherwise.

    Args:
        found: from `recommend`.
        path: the file; an existing one is replaced.

    Raises:
        InputError: the file cannot be written.
    """
    path = Path(path)
    try:
        if path.suffix == ".parquet":
            found.write_parquet(path)
        else:
            path.write_text(found.write_csv(), encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"`out` should be a file that can be written. Received: {str(path)!r} ({reason})."
        ) from None
