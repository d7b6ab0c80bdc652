"""What may stand in a column of users, items, times or ratings, and how it is stored."""

import polars as pl

from metasgcl_tf.errors import InputError

# What other programs write for a missing number; as an id it would silently become one busy user.
MISSING = ["", "null", "nan", "+nan", "-nan", "inf", "+inf", "-inf", "infinity", "-infinity"]


def typed_columns(
    frame: pl.DataFrame, source: object, *, text: bool = False, unit: str = "row"
) -> pl.DataFrame:
    """Gives the columns of a log their final types and refuses values that cannot be used.

    Args:
        frame: columns `user` and `item`, optionally `time` and `rating`, and optionally a column
            named like `unit` with the place of each row in its source, which is dropped.
        source: the file or argument, for messages.
        text: whether the columns hold the characters of a text file. Ids that are all integers then
            become Int64; in typed tables a text id stays text.
        unit: what a place in the source is called: "row" or "line".

    Returns:
        `user` and `item` as Int64 or String, `time` as Int64 or Float64, `rating` as Float64.

    Raises:
        InputError: an id, time or rating is missing, not finite or of a wrong type.
    """
    places = frame[unit] if unit in frame.columns else pl.int_range(1, frame.height + 1, eager=True)
    converters = {"user": _ids, "item": _ids, "time": _times, "rating": _ratings}
    typed = []
    for role, convert in converters.items():
        if role not in frame.columns:
            continue
        values, wrong, rule = convert(frame[role], text)
        if wrong.any():
            at = wrong.arg_true()[0]
            received = f"{_shown(frame[role], at)} in {unit} {places[at]}"
            raise InputError(f"{source}: {role} must be {rule}. Received: {received}.")
        typed.append(values.alias(role))
    return pl.DataFrame(typed)


def _shown(raw: pl.Series, at: int) -> str:
    """One value in one short line; of most other types Polars has values that Python cannot hold."""
    if raw.dtype.is_numeric() or raw.dtype == pl.String or raw[at : at + 1].null_count():
        return f"{raw[at]!r:.60}"
    return "a value of that type"


# Each converter returns the typed values, where they are wrong, and the rule in words.
_Converted = tuple[pl.Series, pl.Series, str]


def _ids(raw: pl.Series, text: bool) -> _Converted:
    if raw.null_count():
        return raw, raw.is_null(), "present in every row"
    if raw.dtype.is_integer():
        return _fitting_integers(raw), _nowhere(raw), ""
    if raw.dtype not in (pl.String, pl.Categorical, pl.Enum):
        return raw, ~_nowhere(raw), f"an integer or text, never a column of type {raw.dtype!s:.60}"
    raw = raw.cast(pl.String)
    # Of the first 10 characters only: Parquet may hold a long text once for a great many rows.
    missing = raw.str.head(10).str.to_lowercase().is_in(MISSING)
    if missing.any():
        return raw, missing, "an integer or text"
    return _text_ids(raw) if text else (raw, missing, "")


def _text_ids(raw: pl.Series) -> _Converted:
    """Int64 where nothing is lost: "007" and 2**63 come back as another text, so they stay text."""
    integers = raw.cast(pl.Int64, strict=False)
    if not integers.null_count() and (integers.cast(pl.String) == raw).all():
        return integers, _nowhere(raw), ""
    with_point = raw.str.contains(".", literal=True)
    if with_point.any() and not raw.cast(pl.Float64, strict=False).null_count():
        return raw, with_point, "an integer or text, never a column of floats"
    return raw, _nowhere(raw), ""


def _fitting_integers(raw: pl.Series) -> pl.Series:
    integers = raw.cast(pl.Int64, strict=False)
    return raw.cast(pl.String) if integers.null_count() else integers


def _times(raw: pl.Series, text: bool) -> _Converted:
    rule = "a finite number or an ISO 8601 date (2024-01-31, 2024-01-31T23:59:00Z)"
    moments = _moments(raw)
    if moments is not None:
        return moments.to_physical().cast(pl.Int64), moments.is_null(), rule
    if raw.dtype.is_integer() or raw.dtype == pl.String:
        integers = raw.cast(pl.Int64, strict=False)
        if not integers.null_count():
            return integers, _nowhere(raw), rule
    return _finite_floats(raw, rule)


def _moments(raw: pl.Series) -> pl.Series | None:
    """Dates and datetimes, or None for anything else; a text column is what its first value is."""
    if raw.dtype in (pl.Date, pl.Datetime):
        return raw
    # The pattern comes first because Polars would also guess 01/02/2024, one way round or the other.
    if raw.dtype != pl.String or not raw.head(1).str.contains(r"^\d{4}-\d{2}-\d{2}").all():
        return None
    try:
        return raw.str.to_datetime(strict=False, time_unit="us")
    except pl.exceptions.ComputeError:  # the first value only looks like a date
        return None


def _ratings(raw: pl.Series, text: bool) -> _Converted:
    return _finite_floats(raw, "a finite number")


def _finite_floats(raw: pl.Series, rule: str) -> _Converted:
    if not (raw.dtype.is_numeric() or raw.dtype == pl.String):
        return raw, ~_nowhere(raw), f"{rule}, never a column of type {raw.dtype!s:.60}"
    floats = raw.cast(pl.Float64, strict=False)
    return floats, ~floats.is_finite().fill_null(False), rule


def _nowhere(raw: pl.Series) -> pl.Series:
    return pl.zeros(len(raw), dtype=pl.Boolean, eager=True)
