"""Bytes and lines of a log file, with every way a file can be broken told in one line."""

import codecs
import gzip
import io
import re
import zlib
from pathlib import Path

import polars as pl

from metasgcl_tf.errors import InputError

# A compressed file may be a bomb of 1,000 times its size and more. Logs are 2 to 4 times theirs; up to so
# many bytes (of Parquet: rows) it does not matter.
BOMB_TIMES, BOMB_BYTES = 100, 2**24


def read_bytes(path: Path) -> bytes:
    """The content of a file, decompressed when its name ends in `.gz`.

    Raises:
        InputError: the path is missing, a directory or unreadable, or its gzip data is broken or grows
            without measure.
    """
    try:
        if path.suffix.lower() == ".gz":
            return _decompressed(path)
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file.") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a directory; a file of interactions is needed.") from None
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise InputError(f"{path}: not a complete gzip file ({error}).") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from None


def _decompressed(path: Path) -> bytes:
    most = max(BOMB_BYTES, BOMB_TIMES * path.stat().st_size)
    data = io.BytesIO()
    with gzip.open(path) as stream:
        while part := stream.read(2**20):
            if data.tell() + len(part) > most:
                raise InputError(
                    f"{path}: a gzip file must hold at most {BOMB_TIMES} times its own size, or "
                    f"{BOMB_BYTES:,} bytes. Received: more than {most:,} bytes."
                )
            data.write(part)
    return data.getvalue()


def read_text(path: Path, *, fallback: str | None = None) -> bytes:
    """The content of a text file as UTF-8 bytes, without a byte order mark and final line breaks.

    Args:
        path: the file; `.gz` is decompressed.
        fallback: encoding of files that are not UTF-8; None makes them an error.

    Raises:
        InputError: the file is unreadable, empty or not UTF-8.
    """
    data = read_bytes(path).removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n")
    if not data:
        raise InputError(f"{path}: the file is empty; at least one interaction is needed.")
    try:
        data.decode()
    except UnicodeDecodeError as error:
        if fallback:
            return data.decode(fallback).encode()
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}: the text must be UTF-8. Received: byte 0x{data[error.start]:02x} in line {line}."
        ) from None
    return data


def split_lines(data: bytes) -> pl.Series:
    """The lines of UTF-8 bytes as one String column."""
    return pl.Series("line", [data], dtype=pl.Binary).cast(pl.String).str.split("\n").explode()


def check_fields(source: Path, data: bytes, separator: str, expected: int, first_line: int) -> None:
    """Checks that every record of a delimited text has the same number of fields.

    Polars fills short records with nulls and, when it reads some columns only, drops what is too
    much; both would hide that the columns have shifted.

    Args:
        source: the file, for the message.
        data: the text, in which quoted fields may hold separators and line breaks.
        separator: one character.
        expected: number of fields a record must have.
        first_line: line number of the first record in the file.

    Raises:
        InputError: naming the first record that has more or fewer fields.
    """
    fields = split_lines(data).str.count_matches(separator, literal=True) + 1
    wrong = (fields != expected).arg_max()
    if wrong is not None and fields[wrong] != expected:
        raise InputError(
            f"{source}: every line must have as many fields as the header, {expected}. "
            f"Received: {fields[wrong]} in line {first_line + wrong}."
        )


def empty_quoted_fields(source: Path, data: bytes, separator: str) -> bytes:
    r"""The text with nothing between its quotes, so that counting separators counts fields.

    Raises:
        InputError: a quote opens no field or closes none. (Polars would join such lines silently.)
    """
    if b'"' not in data:
        return data
    mark = re.escape(separator.encode())
    quoted = re.compile(rb'(?m)(^|%b)"[^"]*+(?:""[^"]*+)*+"(?=%b|\r?$)' % (mark, mark))
    rest = quoted.sub(rb"\1", data)
    if (stray := rest.find(b'"')) >= 0:
        line = rest.count(b"\n", 0, stray) + 1
        raise InputError(
            f'{source}: a quote (") must open and close a whole field. Received: one in line {line}.'
        )
    return rest
