"""Any table that is written in any format is read back as it was; any bytes are a log or refused."""

import csv
import gzip
import io
import json

import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from metasgcl_tf.data.column_types import MISSING
from metasgcl_tf.data.readers import read_interactions
from metasgcl_tf.datasets import load
from metasgcl_tf.errors import InputError
from tests.hostile.mutations import NAMES, hostile_input

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6).filter(
    lambda text: text.lower() not in MISSING
)
ODD_TEXTS = st.sampled_from(
    ['"', '""', ",", "\n", "\r\n", "007", "-0", "1e5", "\ufeff", "\0", "#", "'", "9" * 20]
)
ANY_ID = TEXTS | ODD_TEXTS
# Ids of the formats without quotes: nothing that separates fields or lines.
BARE_ID = ANY_ID.map(lambda text: "".join(c for c in text if c not in " \t\r\n:\ufeff")).filter(
    lambda text: text and text.lower() not in MISSING
)


def tables(ids):
    """Columns of one length: users, items, times, ratings; ids are all integers or all text."""
    column = st.lists(INTEGERS, min_size=9, max_size=9) | st.lists(ids, min_size=9, max_size=9)
    times = st.lists(INTEGERS, min_size=9, max_size=9)
    ratings = st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=9, max_size=9)
    return st.tuples(st.integers(1, 9), column, column, times, ratings).map(
        lambda drawn: [values[: drawn[0]] for values in drawn[1:]]
    )


def as_read(ids):
    """What a text column of ids becomes: integers only where every one is written as an integer is."""
    try:
        integers = [int(raw) for raw in ids]
    except ValueError:
        return list(map(str, ids))
    exact = all(str(n) == str(raw) and -(2**63) <= n < 2**63 for n, raw in zip(integers, ids, strict=True))
    return integers if exact else list(map(str, ids))


def floats_for_ids(ids):
    """Ids that are refused: all are numbers, one with a point."""
    try:
        return any("." in str(raw) for raw in ids) and bool([float(raw) for raw in ids])
    except ValueError:
        return False


def delimited(mark, quoting):
    def write(users, items, times, ratings):
        file = io.StringIO(newline="")
        writer = csv.writer(file, delimiter=mark, quoting=quoting, lineterminator="\n")
        writer.writerow(["user", "item", "time", "rating"])
        writer.writerows(zip(users, items, times, map(repr, ratings), strict=True))
        return file.getvalue().encode()

    return write


def bare(mark, header, order):
    def write(*columns):
        rows = zip(*(columns[place] for place in order), strict=True)
        return (header + "".join(mark.join(map(str, row)) + "\n" for row in rows)).encode()

    return write


def json_lines(*columns):
    names = ["user", "item", "time", "rating"]
    return "".join(
        json.dumps(dict(zip(names, row, strict=True))) + "\n" for row in zip(*columns, strict=True)
    ).encode()


INTER = "user_id:token\titem_id:token\ttimestamp:float\trating:float\n"
WRITERS = {
    "minimal.csv": (ANY_ID, delimited(",", csv.QUOTE_MINIMAL)),
    "all.csv": (ANY_ID, delimited(",", csv.QUOTE_ALL)),
    "log.tsv": (ANY_ID, delimited("\t", csv.QUOTE_MINIMAL)),
    "log.json": (ANY_ID, json_lines),
    "log.inter": (BARE_ID, bare("\t", INTER, [0, 1, 2, 3])),
    "log.dat": (BARE_ID, bare("::", "", [0, 1, 3, 2])),
    "log.txt": (BARE_ID, bare(" ", "", [0, 1])),
}


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", WRITERS)
@settings(max_examples=30)
@given(data=st.data())
def test_what_is_written_is_read_back(tmp_path, name, ending, data):
    ids, write = WRITERS[name]
    users, items, times, ratings = columns = data.draw(tables(ids))
    assume(not floats_for_ids(users) and not floats_for_ids(items))
    path, content = tmp_path / f"{name}{ending}", write(*columns)
    path.write_bytes(gzip.compress(content, 1) if ending else content)
    read = read_interactions(path).to_dict(as_series=False)
    assert read.pop("user") == as_read(users)
    assert read.pop("item") == as_read(items)
    assert read == ({} if name == "log.txt" else {"time": times, "rating": ratings})


@settings(max_examples=4)
@given(table=tables(ANY_ID))
def test_what_is_written_as_parquet_is_read_back(tmp_path, table):
    names = ["user", "item", "time", "rating"]
    pl.DataFrame(dict(zip(names, table, strict=True))).write_parquet(tmp_path / "log.parquet")
    read = read_interactions(tmp_path / "log.parquet")
    assert [read[name].to_list() for name in names] == table


def logs_or_refuses(path, **arguments):
    try:
        assert load(path, **arguments).num_interactions > 0
    except InputError as error:
        assert len(str(error).splitlines()) == 1 and len(str(error)) < 2000


@settings(max_examples=60)
@given(name=st.sampled_from(NAMES), content=st.binary(max_size=300))
def test_any_bytes_are_a_log_or_refused(tmp_path, name, content):
    path = tmp_path / f"log.{name}"
    path.write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    logs_or_refuses(path, k_core=1)


@settings(max_examples=60)
@given(number=st.integers(0, 10**6))
def test_damaged_files_are_a_log_or_refused(tmp_path, number):
    name, content, _ = hostile_input(number)
    assume(len(content) < 10**6)
    path = tmp_path / f"log.{name}"
    path.write_bytes(content)
    logs_or_refuses(path, k_core=1)


@given(path=st.text(max_size=300))
def test_any_text_as_data_is_refused_or_read(path):
    assume(path not in ("synthetic", "ml-1m", "toys", "clothing", "beauty", "sports"))
    logs_or_refuses(path)
