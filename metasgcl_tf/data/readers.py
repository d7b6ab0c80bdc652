"""Files of interactions, whatever their format, as one Polars table."""

import contextlib
import csv
import json
import os
import re
from pathlib import Path

import polars as pl

from metasgcl_tf.data.column_types import typed_columns
from metasgcl_tf.data.columns import Columns as Columns
from metasgcl_tf.data.columns import find_columns, is_usual, refuse_columns
from metasgcl_tf.data.parquet_files import read_parquet
from metasgcl_tf.data.text_files import check_fields, empty_quoted_fields, read_text, split_lines
from metasgcl_tf.errors import InputError, first_line, shown

FORMATS = ".txt, .csv, .tsv, .inter, .dat, .json, .jsonl (each also with .gz) or .parquet"

_KEY = re.compile(rb'"([^"\\]{1,64})"\s*:')

INTER_TYPES = ("token", "token_seq", "float", "float_seq")


def read_interactions(path: str | os.PathLike, columns: Columns | None = None) -> pl.DataFrame:
    """Reads a log of interactions; the name of the file tells its format.

    - `.csv`, `.tsv`: a header and one interaction a line; fields may be quoted.
    - `.parquet`: the same as a typed table.
    - `.inter`: RecBole's atomic file, a header `user_id:token<tab>item_id:token...` and no quotes.
    - `.json`, `.jsonl`, `.ndjson`: one object a line, such as the Amazon reviews (`reviewerID`, `asin`, ...).
    - `.dat`: MovieLens' `user::item::rating::time` without a header.
    - `.txt`: a line `user item item ...`, oldest first; a user may go on in a later line.

    All but Parquet may be compressed, with `.gz` at the end. Text is UTF-8; a `.dat` may be Latin-1.

    Ids are Int64 when every value of the column is an integer that is written back as the same text,
    and String otherwise: "007" stays "007". In Parquet the type of the column decides, and integers
    beyond 64 bits become String.

    Times are numbers in any unit, or ISO 8601 dates and datetimes, which become microseconds since
    1970 (in Parquet: whole numbers in the column's own unit). Only their order is used.

    Args:
        path: the file.
        columns: names of the columns (keys in JSON; in `.inter` without `:token`). None looks for
            the usual ones, such as `user_id`, `itemId`, `timestamp`. Not for `.txt` and `.dat`.

    Returns:
        `user` and `item` (Int64 or String) and, where the file has them, `time` (Int64 or Float64)
        and `rating` (Float64); one row an interaction, in the order of the file.

    Raises:
        InputError: the file is missing, broken, empty, of an unknown format, lacks a column, or
            holds a missing or unusable value.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file.")
    if path.is_dir():
        raise InputError(f"{path}: is a directory; a file of interactions is needed.")
    name = path.name.lower()
    match Path(name.removesuffix(".gz")).suffix:
        case ".csv":
            return _read_delimited(path, ",", columns)
        case ".tsv":
            return _read_delimited(path, "\t", columns)
        case ".inter":
            return _read_inter(path, columns)
        case ".json" | ".jsonl" | ".ndjson":
            return _read_json(path, columns)
        case ".dat":
            return _read_ratings_dat(path, columns)
        case ".txt":
            return _read_sequences(path, columns)
        case ".parquet" if not name.endswith(".gz"):
            return read_parquet(path, columns)
    raise InputError(f"{path}: the file name must end in {FORMATS}. Received: {path.name!r}.")


def _read_delimited(path: Path, separator: str, columns: Columns | None) -> pl.DataFrame:
    data = read_text(path)
    header = data.partition(b"\n")[0].decode()
    try:
        names = next(csv.reader([header], delimiter=separator), [])
    except csv.Error as error:
        raise InputError(f"{path}: the header cannot be read ({error}). Received: {header!r:.60}.") from None
    return _parse_delimited(path, data, names, separator, columns)


def _read_inter(path: Path, columns: Columns | None) -> pl.DataFrame:
    header, _, body = read_text(path).partition(b"\n")
    fields = [field.rpartition(":") for field in header.decode().rstrip("\r").split("\t")]
    wrong = [f"{name}{colon}{kind}" for name, colon, kind in fields if not name or kind not in INTER_TYPES]
    if wrong:
        rule = f"names in the header must be name:type, separated by tabs, with a type of {INTER_TYPES}"
        raise InputError(f"{path}: {rule}. Received: {wrong[0]!r:.60}.")
    names = [name for name, _, _ in fields]
    data = "\t".join(names).encode() + b"\n" + body
    return _parse_delimited(path, data, names, "\t", columns, quoted=False)


def _read_ratings_dat(path: Path, columns: Columns | None) -> pl.DataFrame:
    refuse_columns(path, columns)
    names = ["user", "item", "rating", "time"]
    # With a header and tabs (Polars wants one character) the file is like the others.
    data = "\t".join(names).encode() + b"\n" + read_text(path, fallback="latin-1").replace(b"::", b"\t")
    return _parse_delimited(path, data, names, "\t", None, quoted=False, first_line=1)


def _parse_delimited(
    path: Path,
    data: bytes,
    names: list[str],
    separator: str,
    columns: Columns | None,
    *,
    quoted: bool = True,
    first_line: int = 2,
) -> pl.DataFrame:
    """Reads the wanted columns of a text with a header, `names`; its records start at `first_line`."""
    if len(set(names)) < len(names):
        raise InputError(f"{path}: the names in the header must differ. Received: {shown(names)}.")
    wanted = find_columns(path, names, columns)
    if b"\n" not in data.rstrip(b"\n"):
        raise InputError(f"{path}: the file has a header and no interaction.")
    bare = empty_quoted_fields(path, data, separator) if quoted else data
    check_fields(path, bare, separator, len(names), first_line - 1)
    try:
        table = pl.read_csv(
            data,
            separator=separator,
            quote_char='"' if quoted else None,
            columns=list(wanted.values()),
            infer_schema=False,
        )
    except pl.exceptions.PolarsError as error:
        raise InputError(f"{path}: cannot be read as a table ({first_line(error)}).") from None
    table = table.select(pl.col(name).alias(role) for role, name in wanted.items())
    return typed_columns(table.with_row_index("line", offset=first_line), path, text=True, unit="line")


def _read_json(path: Path, columns: Columns | None) -> pl.DataFrame:
    data = read_text(path)
    try:
        first = json.loads(data.partition(b"\n")[0])
    except (ValueError, RecursionError):  # RecursionError: nested too deep for Python
        first = None
    if not isinstance(first, dict):
        raise InputError(f"{path}: every line must be one JSON object. Received: something else in line 1.")
    wanted = find_columns(path, _keys(data, first), columns)
    try:
        table = pl.read_ndjson(data, schema=dict.fromkeys(wanted.values(), pl.String))
    except pl.exceptions.PolarsError as error:
        received = _malformed_line(data) or first_line(error)
        raise InputError(f"{path}: every line must be one JSON object. Received: {received}.") from None
    table = table.select(pl.col(name).alias(role) for role, name in wanted.items())
    return typed_columns(table.with_row_index("line", offset=1), path, text=True, unit="line")


def _keys(data: bytes, first: dict) -> list[str]:
    """The keys of the first object, and of all if a later one has more that would be looked for."""
    written = {found[1] for found in _KEY.finditer(data)}
    if not any(is_usual(name) for name in {key.decode() for key in written} - first.keys()):
        return list(first)
    keys = dict.fromkeys(first)
    for line in data.split(b"\n"):
        # What is malformed is refused when the table is read.
        with contextlib.suppress(ValueError, TypeError, RecursionError):
            keys |= dict.fromkeys(json.loads(line))
    return list(keys)


def _malformed_line(data: bytes) -> str | None:
    """Where the first malformed line is; slow, but on the way out."""
    # Python reads NaN and Infinity, which JSON has not: int("NaN") raises.
    for number, line in enumerate(data.split(b"\n"), start=1):
        try:
            good = not line.strip() or isinstance(json.loads(line, parse_constant=int), dict)
        except (ValueError, RecursionError):
            good = False
        if not good:
            return f"{line.decode()!r:.60} in line {number}"
    return None


def _read_sequences(path: Path, columns: Columns | None) -> pl.DataFrame:
    refuse_columns(path, columns)
    # Not \S: a no-break space belongs to an id.
    words = pl.col("line").str.extract_all(r"[^ \t\r]+")
    lines = split_lines(read_text(path)).to_frame().select(words=words).with_row_index("line", offset=1)
    lines = lines.filter(pl.col("words").list.len() > 0)
    alone = lines.filter(pl.col("words").list.len() == 1)
    if alone.height:
        received = f"{alone['words'][0][0]!r:.60} alone in line {alone['line'][0]}"
        raise InputError(f"{path}: every line must be a user and at least one item. Received: {received}.")
    if not lines.height:
        raise InputError(f"{path}: the file holds no interaction.")
    user, items = pl.col("words").list.first(), pl.col("words").list.slice(1)
    table = lines.select("line", user=user, item=items).explode("item")
    return typed_columns(table, path, text=True, unit="line")
