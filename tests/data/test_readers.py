"""Every format and every way a file can be broken, on files small enough to check by eye."""

import base64
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from metasgcl_tf.data import parquet_files
from metasgcl_tf.data.interactions import prepare_log
from metasgcl_tf.data.readers import Columns, read_interactions
from metasgcl_tf.errors import InputError

# One tiny log: user, item, rating, time. User 7 reads first, user 3 has a tie at time 20.
ROWS = [(7, 501, 5.0, 10), (3, 502, 4.0, 20), (3, 501, 3.0, 20), (7, 503, 1.0, 5), (3, 503, 2.0, 11)]
EXPECTED = pl.DataFrame(
    {
        "user": [7, 3, 3, 7, 3],
        "item": [501, 502, 501, 503, 503],
        "time": [10, 20, 20, 5, 11],
        "rating": [5.0, 4.0, 3.0, 1.0, 2.0],
    }
)


def table(separator, header):
    lines = [separator.join(map(str, row)) for row in ROWS]
    return "\n".join([*([header] if header else []), *lines]) + "\n"


AMAZON = [dict(zip(("reviewerID", "asin", "overall", "unixReviewTime"), row, strict=True)) for row in ROWS]
TEXTS = {
    "log.csv": table(",", "user_id,item_id,rating,timestamp"),
    "crlf.csv": table(",", "userId,movieId,rating,timestamp").replace("\n", "\r\n"),
    "quoted.csv": re.sub(r"\b(50\d)\b", r'"\1"', table(",", '"user","item",rating,time')),
    "bom.csv": "\ufeff" + table(",", "user,item,rating,time"),
    "log.tsv": table("\t", "user\titem\trating\ttime"),
    "log.inter": table("\t", "user_id:token\titem_id:token\trating:float\ttimestamp:float"),
    "ratings.dat": table("::", None),
    "reviews.json": "".join(json.dumps({**row, "helpful": [0, 1], "summary": "é"}) + "\n" for row in AMAZON),
}


def write(path, text, encoding="utf-8"):
    data = text if isinstance(text, bytes) else text.encode(encoding)
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("name", TEXTS)
def test_every_text_format_gives_the_same_table(tmp_path, name, ending):
    assert read_interactions(write(tmp_path / (name + ending), TEXTS[name])).equals(EXPECTED)


def test_parquet_gives_the_same_table_whatever_the_integer_type(tmp_path):
    EXPECTED.cast({"user": pl.UInt16, "time": pl.UInt64}).write_parquet(tmp_path / "log.parquet")
    read = read_interactions(tmp_path / "log.parquet")
    assert read.equals(EXPECTED) and read.schema == EXPECTED.schema


def test_a_sequence_text_is_the_same_log_as_the_table_it_was_sorted_from(tmp_path):
    (tmp_path / "log.txt").write_text("7 503 501\n\n3\t503  502\r\n3 501\n")
    frame = read_interactions(tmp_path / "log.txt")
    assert frame.columns == ["user", "item"]
    assert frame.rows() == [(7, 503), (7, 501), (3, 503), (3, 502), (3, 501)]
    from_text, from_table = prepare_log(frame, k_core=1), prepare_log(EXPECTED, k_core=1)
    assert from_text.item_index.tolist() == from_table.item_index.tolist() == [1, 2, 1, 3, 2]
    assert from_text.items.to_list() == from_table.items.to_list() == [503, 501, 502]


def test_named_columns_are_taken_and_no_others(tmp_path):
    path = write(tmp_path / "log.csv", "who,what,when,user\na,x,2,9\nb,y,1,9\n")
    assert read_interactions(path, Columns("who", "what")).to_dict(as_series=False) == {
        "user": ["a", "b"],
        "item": ["x", "y"],
    }
    assert read_interactions(path, Columns("who", "what", time="when"))["time"].to_list() == [2, 1]


def test_a_key_that_the_first_object_lacks_is_missed_and_not_passed_over(tmp_path):
    late = '{"user": 1, "item": 2, "more": {"rating": 1}}\n{"user": 1, "item": 3, "time": 4}\n'
    with pytest.raises(InputError, match=r"time must be .* None in line 1"):
        read_interactions(write(tmp_path / "log.jsonl", late))
    nested = '{"user": 1, "item": 2}\n{"user": 1, "item": 3, "more": {"time": 1}}\n'
    frame = read_interactions(write(tmp_path / "log.ndjson", nested))
    assert frame.columns == ["user", "item"] and frame.rows() == [(1, 2), (1, 3)]


def test_named_columns_reach_json_and_inter(tmp_path):
    inter = write(tmp_path / "log.inter", "who:token\twhat:token\n1\t2\n")
    objects = write(tmp_path / "log.json", '{"who": 1, "what": "2"}\n')
    for path in (inter, objects):
        assert read_interactions(path, Columns("who", "what")).rows() == [(1, 2)]


def test_inter_and_dat_have_no_quotes(tmp_path):
    inter = write(tmp_path / "log.inter", 'user_id:token\titem_id:token\na\t5" pipe\nb\t"x\n')
    assert read_interactions(inter)["item"].to_list() == ['5" pipe', '"x']


def test_dat_may_be_latin_1(tmp_path):
    path = write(tmp_path / "ratings.dat", "José::a::5::1\n", encoding="latin-1")
    assert read_interactions(path)["user"].to_list() == ["José"]


def test_quoted_fields_may_hold_separators_quotes_and_line_breaks(tmp_path):
    path = write(tmp_path / "log.csv", 'user,title,item\n1,"a ""b"", c",5\n2,"two\nlines",6\n3,"",7\n')
    assert read_interactions(path).rows() == [(1, 5), (2, 6), (3, 7)]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["9007199254740993", "9223372036854775807"], [2**53 + 1, 2**63 - 1]),
        (["9223372036854775808", "1"], ["9223372036854775808", "1"]),
        (["-5", "0"], [-5, 0]),
        (["007", "7"], ["007", "7"]),
        (["12", "abc"], ["12", "abc"]),
        (["1.5", "abc"], ["1.5", "abc"]),
        (["1e5", "2e7"], ["1e5", "2e7"]),
        (["+5", "5"], ["+5", "5"]),
    ],
)
def test_ids_are_integers_only_where_no_text_is_lost(tmp_path, ids, expected):
    csv = write(tmp_path / "log.csv", "user,item\n" + "".join(f"{raw},1\n" for raw in ids))
    sequences = write(tmp_path / "log.txt", "u " + " ".join(ids))
    assert read_interactions(csv)["user"].to_list() == expected
    assert read_interactions(sequences)["item"].to_list() == expected


def test_typed_ids_keep_their_type_and_leave_int64_for_text_only_beyond_it(tmp_path):
    frame = pl.DataFrame({"user": ["1", "2"], "item": pl.Series([1, 2**63], dtype=pl.UInt64)})
    frame.with_columns(pl.col("user").cast(pl.Categorical)).write_parquet(tmp_path / "log.parquet")
    read = read_interactions(tmp_path / "log.parquet")
    assert read.rows() == [("1", "1"), ("2", "9223372036854775808")]


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (["9007199254740993", "1"], [2**53 + 1, 1]),
        (["1.5", "2"], [1.5, 2.0]),
        (["1970-01-02", "1970-01-01"], [86_400_000_000, 0]),
        (["1970-01-01T00:00:01Z", "1970-01-01T02:00:00+02:00"], [1_000_000, 0]),
        (["1970-01-01 00:00:01.500000", "1970-01-01 00:00:00.500000"], [1_500_000, 500_000]),
    ],
)
def test_times_are_exact_numbers_or_iso_dates(tmp_path, times, expected):
    path = write(tmp_path / "log.csv", "user,item,time\n" + "".join(f"1,2,{time}\n" for time in times))
    assert read_interactions(path)["time"].to_list() == expected


def test_dates_of_a_parquet_file_keep_their_order(tmp_path):
    frame = pl.DataFrame({"user": [1, 1], "item": [1, 2], "time": ["2024-01-02", "2024-01-01"]})
    frame.with_columns(pl.col("time").str.to_date()).write_parquet(tmp_path / "log.parquet")
    times = read_interactions(tmp_path / "log.parquet")["time"]
    assert times.dtype == pl.Int64 and times[0] == times[1] + 1


BROKEN = {
    "unknown extension": ("log.xlsx", "x", ["must end in", "log.xlsx"]),
    "compressed parquet": ("log.parquet.gz", "x", ["must end in", "log.parquet.gz"]),
    "empty": ("log.csv", "", ["empty"]),
    "empty gzip content": ("log.txt.gz", "", ["empty"]),
    "blank sequences": ("log.txt", "  \n \n", ["no interaction"]),
    "header only": ("log.csv", "user,item\n", ["no interaction"]),
    "inter header only": ("log.inter", "user_id:token\titem_id:token\n", ["no interaction"]),
    "missing column": ("log.csv", "who,item\n1,2\n", ["user", "--user-col", "['who', 'item']"]),
    "missing key": ("log.json", '{"reviewerID": "a"}\n', ["item", "--item-col", "['reviewerID']"]),
    "two usual names": ("log.csv", "user,user_id,item\n1,2,3\n", ["--user-col", "['user', 'user_id']"]),
    "same name twice": ("log.csv", "user,item,item\n1,2,3\n", ["must differ", "['user', 'item', 'item']"]),
    "short row": ("log.csv", "user,item,x\n1,2,3\n1,2\n", ["as many fields", "3", "2 in line 3"]),
    "long row": ("log.csv", "user,item\n1,2\n1,2,3\n1,2,3\n", ["as many fields", "3 in line 3"]),
    "long quoted row": ("log.csv", 'user,item\n1,"2"\n1,"2,3",4\n', ["as many fields", "3 in line 3"]),
    "blank row": ("log.csv", "user,item\n1,2\n\n1,3\n", ["as many fields", "1 in line 3"]),
    "open quote": ("log.csv", 'user,item\n1,"2\n3,4\n', ["quote", "line 2"]),
    "quote within": ("log.csv", 'user,item\n1,2\n3,5" a\n3,6" b\n', ["quote", "line 3"]),
    "short dat": ("ratings.dat", "1::2::3::4\n1::2::3\n", ["as many fields", "3 in line 2"]),
    "no user": ("log.csv", "user,item\n1,2\n,3\n", ["user must be", "line 3"]),
    "nan item": ("log.csv", "user,item\n1,2\n1,NaN\n", ["item must be", "'NaN' in line 3"]),
    "null item": ("log.json", '{"user": 1, "item": 2}\n{"user": 1}\n', ["item must be", "None in line 2"]),
    "inf user": ("log.txt", "1 2\ninf 3\n", ["user must be", "'inf' in line 2"]),
    "float ids": ("log.csv", "user,item\n1.0,2\n2.0,3\n", ["user must be", "floats", "'1.0' in line 2"]),
    "word as time": ("log.csv", "user,item,time\n1,2,3\n1,2,soon\n", ["time must be", "'soon' in line 3"]),
    "no time": ("log.csv", "user,item,time\n1,2,3\n1,2,\n", ["time must be", "None in line 3"]),
    "nan time": ("log.csv", "user,item,time\n1,2,nan\n", ["time must be", "'nan' in line 2"]),
    "no such day": (
        "log.csv",
        "user,item,time\n1,2,2024-01-31\n1,2,2024-02-31\n",
        ["time must", "in line 3"],
    ),
    "only like a date": ("log.csv", "user,item,time\n1,2,2024-31-31\n", ["time must", "in line 2"]),
    "not iso": ("log.csv", "user,item,time\n1,2,01/02/2024\n", ["time must be", "ISO 8601", "in line 2"]),
    "inf rating": ("ratings.dat", "1::2::5::1\n1::2::inf::4\n", ["rating must be", "'inf' in line 2"]),
    "word as rating": ("log.csv", "user,item,rating\n1,2,good\n", ["rating must be", "'good' in line 2"]),
    "not utf-8": ("log.csv", b"user,item\n1,2\n1,\xe9\n", ["UTF-8", "0xe9 in line 3"]),
    "sequences not utf-8": ("log.txt", b"1 2\n\xff 2\n", ["UTF-8", "0xff in line 2"]),
    "user without item": ("log.txt", "1 2\n3\n", ["at least one item", "'3' alone in line 2"]),
    "untyped inter": ("log.inter", "user_id\titem_id:token\n1\t2\n", ["name:type", "'user_id'"]),
    "odd inter type": ("log.inter", "user_id:int\titem_id:token\n1\t2\n", ["name:type", "'user_id:int'"]),
    "first json line": ("log.json", "[1, 2]\n", ["JSON object", "line 1"]),
    "malformed json": ("log.json", '{"user": 1, "item": 2}\n{"user": 1,\n', ["JSON object", "line 2"]),
    "nan in json": ("log.json", '{"user": 1, "item": 2}\n{"user": NaN, "item": 2}\n', ["object", "line 2"]),
    "not parquet": ("log.parquet", "user,item\n1,2\n", ["Parquet"]),
    "nested json": ("log.json", '{"user":' * 50_000, ["JSON object", "line 1"]),
    "nested json later": (
        "log.json",
        '{"user": 1, "item": 2}\n{"user": ' + "[" * 100_000,
        ["JSON object", "in line 2"],
    ),
    "endless header": ("log.csv", "a" * 70_000 + ",item\n1,2\n", ["--user-col", "aaa...aaa"]),
    "many columns": ("log.tsv", "\t".join(map(str, range(9_000))) + "\n", ["--user-col", "'0', '1', '2'"]),
    "same endless name": ("log.csv", "a" * 70_000 + ",item,item\n1,2,3\n", ["must differ"]),
    "odd header": ("log.csv", "user,item\rx\n1,2\n", ["header cannot be read"]),
}


def refusal(path, columns=None):
    with pytest.raises(InputError) as caught:
        read_interactions(path, columns)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message and len(message) < 1_000
    return message


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, case):
    name, text, parts = BROKEN[case]
    message = refusal(write(tmp_path / name, text))
    for part in parts:
        assert part in message


def test_a_missing_file_and_a_directory(tmp_path):
    assert "no such file" in refusal(tmp_path / "log.csv")
    assert "directory" in refusal(tmp_path)


def test_broken_gzip(tmp_path):
    whole = gzip.compress(b"1 2 3\n" * 1000)
    for name, data in {
        "cut": whole[:-12],
        "plain": b"1 2 3\n",
        "flipped": whole[:30] + b"\x00\xff" * 9,
    }.items():
        path = tmp_path / f"{name}.txt.gz"
        path.write_bytes(data)
        assert "gzip" in refusal(path)


@pytest.mark.parametrize("line", [b"\0" * 64, b"1,2\n", b'"'])
def test_a_gzip_bomb_is_refused_before_it_fills_the_memory(tmp_path, line):
    path, bomb = tmp_path / "log.csv.gz", gzip.compress(line * (2**23 // len(line)))
    path.write_bytes(gzip.compress(b"user,item\n") + bomb * 64)  # 512 MB
    assert path.stat().st_size < 10**6
    message = refusal(path)
    assert "at most 100 times its own size" in message


def test_a_small_log_may_be_compressed_as_well_as_it_can(tmp_path):
    path = write(tmp_path / "log.csv.gz", "user,item\n" + "1,2\n" * 10**6)
    assert path.stat().st_size < 4 * 10**6 / 500
    assert read_interactions(path).height == 10**6


def test_a_parquet_bomb_is_refused_before_it_fills_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "log.parquet"
    pl.select(user=pl.repeat(1, 2 * 10**6), item=pl.repeat(2, 2 * 10**6)).write_parquet(path)
    monkeypatch.setattr(parquet_files, "BOMB_BYTES", 10**5)
    assert "at most 100 rows a byte" in (message := refusal(path)) and "2,000,000 in" in message
    monkeypatch.undo()
    assert read_interactions(path).height == 2 * 10**6


# One bit of a file with the columns user and item is wrong: a run of nulls is 2^64 long.
ENDLESS_RUN = """
UEFSMRUEFRAVFEwVAhUAAAAIHAkAAAAAAAAAFQAVEBUULBUDFRAVBhUGAAAIHAIAAAACAQADFQQZNQAGEBkYBHVzZXIVAhYCFlwW
ZCY2JggAFQAVDBUQLBUCFQAVBhUGAAAGFAIAAAADABUCGSUABhkYBGl0ZW0VAhYCFi4WMiaiAQAZHBY2FTYWAAAAGRwWogEVMhYA
AAAVAhk8SARyb290FQQAFQQlAhgEdXNlcgAVAiUCGARpdGVtbLwAAAAWAhkcGSwmmgEcFQQZNQAGEBkYBHVzZXIVAhYCFlwWZCY2
JggAFoYCFRQAJtQBHBUCGSUABhkYBGl0ZW0VAhYCFi4WMiaiAQAWmgIVFgAWigEWAiYIFpYBFAAAGRwYDEFSUk9XOnNjaGVtYRjs
AS8vLy8vNmtBQUFBRUFBQUE4di8vL3hRQUFBQUVBQUVBQUFBS0FBc0FDQUFLQUFRQStQLy8vd3dBQUFBSUFBZ0FBQUFFQUFJQUFB
QTBBQUFBQkFBQUFNRC8vLzhjQUFBQUVBQUFBQWdBQUFBQkFRQUFBQUFBQVB6Ly8vOEVBQVFBQkFBQUFHbDBaVzBBQUFBQTdQLy8v
emdBQUFBZ0FBQUFHQUFBQUFFQ0FBQVFBQklBQkFBUUFCRUFDQUFBQUF3QUFBQUFBUFQvLy85QUFBQUFBUUFBQUFnQUNRQUVBQWdB
QkFBQUFIVnpaWElBABhOUG9sYXJzIChweXRob24pIHZlcnNpb24gMi4xLjAgKGJ1aWxkIDdmOTAyYmQzZmZkMjdmZjgyZDE0Mjc4
YTA5YTI5NWZmMmY3YWVkOTIpGSwcAAAcAAAA2wEAAFBBUjE=
"""


def test_a_parquet_file_that_polars_does_not_survive(tmp_path):
    path = tmp_path / "log.parquet"
    path.write_bytes(base64.b64decode(ENDLESS_RUN))
    assert "not a readable Parquet file (reading it ends the process" in refusal(path)


def test_cut_parquet(tmp_path):
    path = tmp_path / "log.parquet"
    EXPECTED.write_parquet(path)
    path.write_bytes(path.read_bytes()[:-20])
    assert "Parquet" in refusal(path)


# Polars has them and Python has not: days after the year 9999, durations of a billion days.
LAST_DAYS = pl.Series([2**31 - 1, 0], dtype=pl.Int32).cast(pl.Date)
LONGEST = pl.Series([2**63 - 1, 0]).cast(pl.Duration("ms"))


@pytest.mark.parametrize(
    ("frame", "parts"),
    [
        ({"user": [1.0, 2.0], "item": [1, 2]}, ["user must be", "Float64", "1.0 in row 1"]),
        ({"user": [1, None], "item": [1, 2]}, ["user must be", "None in row 2"]),
        ({"user": [1, 2], "item": ["a", ""]}, ["item must be", "'' in row 2"]),
        ({"user": [1, 2], "item": [True, False]}, ["item must be", "Boolean"]),
        ({"user": [1, 2], "item": [1, 2], "time": [1.0, float("inf")]}, ["time must be", "inf in row 2"]),
        ({"user": [1, 2], "item": [1, 2], "time": [1, None]}, ["time must be", "None in row 2"]),
        ({"user": [1, 2], "item": [1, 2], "time": [True, False]}, ["time must be", "Boolean"]),
        ({"user": [1, 2], "item": [1, 2], "rating": [1.0, float("nan")]}, ["rating must be", "nan in row 2"]),
        ({"user": [[], [0, 0]], "item": [1, 2]}, ["user must be", "List(Int64)", "in row 1"]),
        ({"user": LAST_DAYS, "item": [1, 2]}, ["user must be", "type Date", "in row 1"]),
        ({"user": LAST_DAYS.cast(pl.Datetime("ms")), "item": [1, 2]}, ["user must be", "type Datetime"]),
        ({"user": [1, 2], "item": [1, 2], "time": LONGEST}, ["time must be", "type Duration", "in row 1"]),
        ({"user": [], "item": []}, ["no row"]),
        ({"a": [1], "item": [1]}, ["--user-col", "['a', 'item']"]),
    ],
)
def test_unusable_parquet_columns(tmp_path, frame, parts):
    pl.DataFrame(frame).write_parquet(tmp_path / "log.parquet")
    message = refusal(tmp_path / "log.parquet")
    for part in parts:
        assert part in message


def test_columns_that_cannot_be_had(tmp_path):
    csv = write(tmp_path / "log.csv", "a,b\n1,2\n")
    assert "'when'" in (message := refusal(csv, Columns("a", "b", time="when"))) and "--time-col" in message
    assert "of its own" in refusal(csv, Columns("a", "a"))
    assert "no names" in refusal(write(tmp_path / "log.txt", "1 2\n"), Columns())
    assert "no names" in refusal(write(tmp_path / "log.dat", "1::2::3::4\n"), Columns())


# VmHWM, not getrusage: the latter also counts what the process that started this one had in memory.
MEASURE = """
import re, sys
from pathlib import Path
from metasgcl_tf.data.interactions import prepare_log
from metasgcl_tf.data.readers import read_interactions
log = prepare_log(read_interactions(sys.argv[1]))
print(log.counts["rows_read"], re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from Linux' /proc")
def test_a_million_lines_stay_under_a_gigabyte(tmp_path):
    rows = pl.int_range(1_000_000, eager=True).to_frame("row")
    row = pl.col("row")
    rows = rows.select(
        user_id="A" + (row * 7919 % 100_003).cast(pl.String) + "XYZXYZXYZXYZ",
        item_id="B" + (row * row % 50_021).cast(pl.String),
        rating=pl.lit(4.0),
        timestamp=1_600_000_000 + row * 104_729 % 1_000_003,
    )
    rows.write_csv(tmp_path / "log.csv")
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "log.csv")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    rows_read, kilobytes = map(int, done.stdout.split())
    assert rows_read == 1_000_000
    assert kilobytes < 1_000_000
