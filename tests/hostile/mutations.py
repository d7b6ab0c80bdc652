"""Hostile files of every format: good ones that were damaged, and tables of values nobody should write.

`hostile_input(number)` depends on the number alone, so that a failure can be made again.
"""

import functools
import gzip
import io
import json
import random
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import polars as pl

TEXT_FORMATS = ("csv", "tsv", "inter", "json", "dat", "txt")
NAMES = (*TEXT_FORMATS, *(f"{name}.gz" for name in TEXT_FORMATS), "parquet")

TOKENS = [
    *(
        b"",
        b"\0",
        b'"',
        b'""',
        b'"""',
        b"'",
        b",",
        b"\t",
        b"::",
        b":",
        b"\n",
        b"\r",
        b"\r\n",
        b"\\",
        b"#",
        b" ",
    ),
    *(b"NaN", b"null", b"None", b"inf", b"-inf", b"Infinity", b"1e999", b"-1e-999", b"true", b"{}", b"[]"),
    *(b"0", b"-0", b"+1", b"007", b"1.0", b"1_000", b"0x10", b"1e5", b".5", b"5.", b"--1", b"1,5"),
    *(str(n).encode() for bits in (31, 32, 53, 63, 64, 127) for n in (2**bits - 1, 2**bits, -(2**bits) - 1)),
    *(b"9" * 400, b"9" * 5000, b"-" + b"9" * 5000, b"0." + b"1" * 5000, b"A" * 70_000, b"a b" * 3000),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\x1f\x8b\x08"),
    *("é", "e\u0301", "\u2028", "\x85", "\x0b", "\x0c", "\x1c", "\u00a0", "\u202e", "\U0001f600", "İ", "٣"),
    *(b"2024-01-31", b"0000-01-01", b"-2024-01-01", b"9999-12-31T23:59:60Z", b"2024-02-30", b"2024-01-01T"),
    *(b"2024-01-01T00:00:00+99:99", b"262143-12-31", b"2024-01-01 00:00:00.123456789", b"99999-99-99"),
    *(b"[" * 300, b"[" * 100_000, b'{"user":' * 300, b'{"user":' * 50_000, b'"\\ud800"', b'"\\u0000"'),
    *(b"{" * 1000, b"(" * 1000, b"user", b"item", b"user_id:token", b"timestamp:float", b"PAR1", b"%s%n{0}"),
]
TOKENS = [token if isinstance(token, bytes) else token.encode() for token in TOKENS]

COLUMN_NAMES = ["user", "user_id", "userId", "item", "asin", "item_id", "time", "date", "rating", "x", "USER"]


def rows(rand, count=30):
    """Good interactions: user, item, rating, time."""
    return [
        (rand.randint(1, 6), rand.randint(1, 9), rand.randint(1, 5), rand.randint(1, 99))
        for _ in range(count)
    ]


def good_text(rand, kind):
    table = rows(rand, rand.choice([1, 3, 30, 300]))
    if kind == "json":
        keys = rand.choice(
            [("user", "item", "rating", "time"), ("reviewerID", "asin", "overall", "unixReviewTime")]
        )
        return "".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in table).encode()
    if kind == "txt":
        return "".join(" ".join(map(str, row)) + "\n" for row in table).encode()
    mark = {"csv": ",", "tsv": "\t", "inter": "\t", "dat": "::"}[kind]
    header = {
        "inter": "user_id:token\titem_id:token\trating:float\ttimestamp:float\n",
        "dat": "",
    }.get(kind, mark.join(["user", "item", "rating", "time"]) + "\n")
    return (header + "".join(mark.join(map(str, row)) + "\n" for row in table)).encode()


def odd_values(rand):
    """A function that makes the values of one column of a text: one kind of them, and some tokens."""
    share = rand.choice([0, 0, 0.03, 0.3])
    kind = rand.choice(
        [
            lambda: rand.randint(1, 9),
            lambda: rand.randint(-(2**64), 2**64),
            lambda: 2**53 + rand.randint(0, 3),
            lambda: rand.choice([0.5, 1e300, -0.0, 1e-320]),
            lambda: rand.choice(["a", "b", "é", "b b", "1.5", "\u2028", "\x85", "0"]),
            lambda: date.fromordinal(rand.randint(1, date.max.toordinal())),
            lambda: datetime(rand.randint(1, 9999), 2, 28, 23, 59, 59, rand.randint(0, 9)).isoformat(),
            lambda: (
                f"2024-0{rand.randint(0, 9)}-29T12:00:00{rand.choice(['Z', '+02:00', '+23:59', '-99:99'])}"
            ),
        ]
    )
    return lambda: rand.choice(TOKENS) if rand.random() < share else str(kind()).encode()


def odd_text(rand, kind):
    """A table in the right shape whose names and values are unusual."""
    makers = [odd_values(rand) for _ in range(8)]

    def cell(place):
        value = makers[place % 8]()
        if kind == "csv" and rand.random() < 0.2:
            return b'"' + value.replace(b'"', b'""') + b'"'
        return value

    names = [name.encode() for name in rand.sample(COLUMN_NAMES, rand.randint(1, 5))]
    if rand.random() < 0.7:
        names = [b"user", b"item", *(name for name in names if name in (b"time", b"rating", b"x"))]
    if rand.random() < 0.1:
        names.append(rand.choice(TOKENS))
    count = rand.choice([1, 3, 30])
    if kind == "json":
        values = (b'"%b"', b'"%b"', b'"%b"', rand.choice([b'"%b"', b"%b", b"[%b]", b'{"a": %b}']))
        pairs = (
            [b'"%b":' % name + rand.choice(values) % cell(n) for n, name in enumerate(names)]
            for _ in range(count)
        )
        return b"".join(b"{" + b",".join(pair) + b"}\n" for pair in pairs)
    if kind == "dat":
        names = names[:1] * rand.choice([4, 4, 4, 5])
        makers[2:4] = [lambda: str(rand.randint(1, 5)).encode()] * 2 if rand.random() < 0.6 else makers[2:4]
    mark = {"csv": b",", "tsv": b"\t", "inter": b"\t", "dat": b"::", "txt": b" "}[kind]
    end = rand.choice([*[b"\n"] * 4, b"\r\n", b"\r"])
    lines = [mark.join(cell(place) for place in range(len(names))) for _ in range(count)]
    if kind in ("csv", "tsv"):
        lines.insert(0, mark.join(names))
    elif kind == "inter":
        lines.insert(
            0, mark.join(name + b":" + rand.choice([b"token", b"float", b"token_seq"]) for name in names)
        )
    return end.join(lines)


def odd_column(rand, rows):
    """A typed column of so many values for a Parquet file."""
    some, count = rand.randint, max(rows, 1)

    def extremes(bits):
        return pl.Series([rand.choice([2 ** (bits - 1) - 1, 0, -(2 ** (bits - 1))]) for _ in range(count)])

    makers = [
        lambda: pl.Series([some(0, 9) for _ in range(count)]),
        lambda: pl.Series([some(0, 255) for _ in range(count)], dtype=pl.UInt8),
        lambda: pl.Series([2**63 + some(0, 9) for _ in range(count)], dtype=pl.UInt64),
        lambda: pl.Series([2**100 + some(0, 9) for _ in range(count)], dtype=pl.Int128),
        lambda: pl.Series(
            [rand.choice([0.5, float("nan"), float("inf"), -0.0, 1e300]) for _ in range(count)]
        ),
        lambda: pl.Series([rand.choice(["a", "b", "", "NaN", "\0", "é" * 9]) for _ in range(count)]),
        lambda: pl.Series([rand.choice(["a", "b", "c"]) for _ in range(count)], dtype=pl.Categorical),
        lambda: pl.Series([rand.choice(["a", "b"]) for _ in range(count)], dtype=pl.Enum(["a", "b"])),
        lambda: pl.Series([rand.choice([None, 1, 2]) for _ in range(count)], dtype=pl.Int32),
        lambda: pl.Series([None] * count),
        lambda: pl.Series([rand.choice([True, False]) for _ in range(count)]),
        lambda: pl.Series([rand.choice([b"a", b"\xff"]) for _ in range(count)]),
        lambda: pl.Series([[some(0, 3)] * some(0, 3) for _ in range(count)], dtype=pl.List(pl.Int64)),
        lambda: pl.Series([{"a": some(0, 3)} for _ in range(count)]),
        lambda: pl.Series([rand.choice([date.min, date.max, date(2024, 2, 29)]) for _ in range(count)]),
        lambda: pl.Series([rand.choice([datetime.min, datetime.max]) for _ in range(count)]),
        lambda: pl.Series([datetime(2024, 1, 1)] * count).dt.replace_time_zone("Europe/Berlin"),
        lambda: extremes(64).cast(pl.Datetime(rand.choice(["ms", "us", "ns"]))),
        lambda: extremes(64).cast(pl.Duration(rand.choice(["ms", "us", "ns"]))),
        lambda: extremes(32).cast(pl.Int32).cast(pl.Date),
        lambda: pl.Series([[rand.choice([2**63 - 1, 0])] for _ in range(count)]).cast(
            pl.List(pl.Datetime("us"))
        ),
        lambda: pl.Series([time(some(0, 23))] * count),
        lambda: pl.Series([timedelta(seconds=some(0, 99))] * count),
        lambda: pl.Series([Decimal(some(0, 99)) / 4] * count),
    ]
    return rand.choice(makers)().head(rows)


def parquet(rand, odd):
    count = rand.choice([0, 1, 5, 40]) if odd else 40
    if odd:
        names = ["user", "item", *rand.sample(["time", "rating", "x", "userid"], rand.randint(0, 3))]
        # Mostly fit for ids, or hardly any file would come further than its first column.
        plain = pl.Series([rand.randint(1, 9) for _ in range(count)], dtype=pl.Int64)
        frame = pl.DataFrame({n: plain if rand.random() < 0.4 else odd_column(rand, count) for n in names})
    else:
        frame = pl.DataFrame(rows(rand, count), schema=["user", "item", "rating", "time"], orient="row")
        if rand.random() < 0.5:
            frame = frame.with_columns(pl.format("u{}", "user").alias("user"))
    file = io.BytesIO()
    kinds = ["uncompressed", "snappy", "gzip", "brotli", "lz4", "zstd"]
    frame.write_parquet(file, compression=rand.choice(kinds), statistics=rand.random() < 0.5)
    return file.getvalue()


@functools.cache
def many_rows():
    """A Parquet file of 80 kB with twenty million rows."""
    file = io.BytesIO()
    pl.select(user=pl.repeat(1, 2 * 10**7), item=pl.repeat(2, 2 * 10**7)).write_parquet(file)
    return file.getvalue()


def damaged(rand, data, other):
    """The bytes after a few accidents: bits only (a Parquet file survives little else), or of every kind."""
    kinds = [1] if rand.random() < 0.4 else range(9)
    for _ in range(rand.choice([1, 1, 1, 2, 5])):
        at = rand.randint(0, len(data))
        upto = min(len(data), at + rand.choice([1, 4, 50, 1000]))
        match rand.choice(kinds):
            case 0:
                data = data[:at]
            case 1 | 2 if data:
                at = min(at, len(data) - 1)
                data = data[:at] + bytes([data[at] ^ 1 << rand.randint(0, 7)]) + data[at + 1 :]
            case 3:
                data = data[:at] + data[upto:]
            case 4:
                data = data[:at] + data[at:upto] * rand.choice([2, 50]) + data[upto:]
            case 5:
                data = data[:at] + other[rand.randint(0, len(other)) :]
            case 6:
                data = data[:at] + rand.randbytes(rand.choice([1, 8, 100])) + data[upto:]
            case _:
                data = data[:at] + rand.choice(TOKENS) + data[at if rand.random() < 0.5 else upto :]
    return data


def recoded(rand, data):
    """The text in another encoding."""
    text = data.decode("utf-8", errors="replace")
    return text.encode(rand.choice(["utf-16", "utf-32", "utf-8-sig", "utf-7", "cp500"]), errors="replace")


def bomb(rand, kind):
    """Little that becomes much: 16 MB to 1 GB of one line again and again."""
    line = rand.choice([b"\0" * 64, b"1,2\n", b"A" * 100, b'"', b"\n"])
    once = gzip.compress((line * (2**22 // len(line) + 1))[: 2**22])  # members may follow each other
    head = good_text(rand, kind).partition(b"\n")[0] + b"\n"
    return gzip.compress(head) + once * rand.choice([4, 15, 64, 256])


def hostile_input(number):
    """File name, bytes and the other arguments of `load` for a number: `(name, data, arguments)`."""
    rand = random.Random(number)
    # Few Parquet files: each is read in a process of its own first, a hundred times as long as others take.
    name = "parquet" if rand.random() < 0.04 else rand.choice(NAMES[:-1])
    kind = name.removesuffix(".gz")
    zipped = name.endswith(".gz")
    if kind == "parquet" and rand.random() < 0.003:
        return name, many_rows(), [None, 1, None]
    if kind == "parquet":
        data = parquet(rand, odd=rand.random() < 0.5)
    else:
        data = good_text(rand, kind) if rand.random() < 0.5 else odd_text(rand, kind)
    if zipped and rand.random() < 0.01:
        return name, bomb(rand, kind), [None, 1, None]
    other = good_text(rand, rand.choice(TEXT_FORMATS)) if rand.random() < 0.8 else parquet(rand, odd=False)
    if rand.random() < 0.6:
        data = damaged(rand, data, other)
    if kind != "parquet" and rand.random() < 0.05:
        data = recoded(rand, data)
    if zipped:
        data = gzip.compress(data, 1, mtime=0)
        if rand.random() < 0.3:
            data = damaged(rand, data, gzip.compress(other, 1, mtime=0))
    columns = None
    if kind not in ("dat", "txt") and rand.random() < 0.05:
        columns = [rand.choice([None, *COLUMN_NAMES, "\0", ""]) for _ in range(4)]
    return name, data, [columns, rand.choice([*[1] * 9, 2, 2**70]), rand.choice([*[None] * 9, 3.0, 1e300])]
