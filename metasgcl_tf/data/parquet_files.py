"""Parquet files of interactions, broken ones included."""

import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl

from metasgcl_tf.data.column_types import typed_columns
from metasgcl_tf.data.columns import Columns, find_columns
from metasgcl_tf.data.text_files import BOMB_BYTES, BOMB_TIMES, read_bytes
from metasgcl_tf.errors import InputError, first_line

BROKEN = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # some broken pages panic

# Reads the columns, a JSON list in the first line of its input, of the file that is the rest of it.
PROBE = """
import io, json, sys
import polars as pl
columns = json.loads(sys.stdin.buffer.readline())
pl.read_parquet(io.BytesIO(sys.stdin.buffer.read()), columns=columns)
"""


def read_parquet(path: Path, columns: Columns | None) -> pl.DataFrame:
    """See `metasgcl_tf.data.readers.read_interactions`."""
    data = read_bytes(path)
    try:
        wanted = find_columns(path, list(pl.read_parquet_schema(io.BytesIO(data))), columns)
        _check_height(path, data)
        _check_pages(path, data, list(wanted.values()))
        table = pl.read_parquet(io.BytesIO(data), columns=list(wanted.values()))
    except BROKEN as error:
        raise InputError(f"{path}: not a readable Parquet file ({first_line(error)}).") from None
    if not table.height:
        raise InputError(f"{path}: the table has no row; at least one interaction is needed.")
    table = table.select(pl.col(name).alias(role) for role, name in wanted.items())
    return typed_columns(table, path)


def _check_height(path: Path, data: bytes) -> None:
    height = pl.scan_parquet(io.BytesIO(data)).select(pl.len()).collect().item()  # from the metadata
    if height > max(BOMB_BYTES, BOMB_TIMES * len(data)):
        rule = f"must have at most {BOMB_TIMES} rows a byte, or {BOMB_BYTES:,}"
        raise InputError(f"{path}: a Parquet file {rule}. Received: {height:,} in {len(data):,} bytes.")


def _check_pages(path: Path, data: bytes, columns: list[str]) -> None:
    """Reads the file in another process first: some broken pages make Polars ask for exabytes and abort."""
    told = json.dumps(columns).encode() + b"\n" + data
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    done = subprocess.run([sys.executable, "-P", "-c", PROBE], input=told, check=False, **quiet)
    if done.returncode not in (0, 1):  # 1: an error that Polars raises, here as well
        reason = f"reading it ends the process with code {done.returncode}"
        raise InputError(f"{path}: not a readable Parquet file ({reason}).")
