"""From a table of interactions to the log every model trains on: cleaning, k-core, dense ids."""

import math
import numbers

import numpy as np
import polars as pl

from metasgcl_tf.data.column_types import typed_columns
from metasgcl_tf.data.interaction_log import InteractionLog as InteractionLog
from metasgcl_tf.errors import InputError


def prepare_log(frame: pl.DataFrame, *, k_core: int = 5, min_rating: float | None = None) -> InteractionLog:
    """Cleans a table of interactions and numbers its users and items.

    In this order:

    1. Interactions rated below `min_rating` are dropped.
    2. Rows with the same user, item and time are one interaction: the first stays. A log without
       times keeps every row, since a repeated item is then a repeated purchase.
    3. Users and items with fewer than `k_core` interactions are dropped until none is left.
    4. Each user's interactions are sorted by time; ties keep the order of the table.
    5. Users are numbered by first appearance in the table that is left, items by first appearance
       in the finished log (one user after another, oldest first).

    Args:
        frame: columns `user`, `item`, optionally `time`, `rating`, as from `read_interactions`.
        k_core: interactions each user and item must have; 1 keeps all.
        min_rating: lowest rating that counts as an interaction; None keeps all.

    Returns:
        The log. Its `counts` are rows_read, below_rating, duplicates_dropped, dropped_by_k_core
        (interactions) and k_core.

    Raises:
        InputError: an argument or value is unusable, or nothing is left.
    """
    frame = _checked(frame, k_core, min_rating)
    liked = frame if min_rating is None else frame.filter(pl.col("rating") >= min_rating)
    if not liked.height:
        raise InputError(
            f"`min_rating` must leave some interactions. Received: {min_rating}, above all {_rows(frame)}."
        )
    distinct = _without_duplicates(liked)
    core = apply_k_core(distinct, k_core)
    if not core.height:
        raise InputError(
            f"`k_core` must leave some interactions. Received: {k_core}, which drops all {_rows(distinct)}."
        )
    counts = {
        "rows_read": frame.height,
        "below_rating": frame.height - liked.height,
        "duplicates_dropped": liked.height - distinct.height,
        "dropped_by_k_core": distinct.height - core.height,
        "k_core": int(k_core),
    }
    return _number(core, counts)


def apply_k_core(frame: pl.DataFrame, k: int) -> pl.DataFrame:
    """Drops users and items with fewer than `k` rows until every one that is left has `k`.

    Args:
        frame: columns `user` and `item`, one row an interaction; others are kept.
        k: at least 1, which keeps every row.

    Returns:
        The rows that are left, possibly none, in their order.

    Raises:
        InputError: `k` is not a positive integer.
    """
    _check_k_core(k)
    while True:
        enough = (pl.len().over("user") >= k) & (pl.len().over("item") >= k)
        kept = frame.filter(enough)
        if kept.height == frame.height:
            return frame
        frame = kept


def _checked(frame: pl.DataFrame, k_core: int, min_rating: float | None) -> pl.DataFrame:
    _check_k_core(k_core)
    if min_rating is not None:
        if not isinstance(min_rating, numbers.Real) or not math.isfinite(min_rating):
            raise InputError(f"`min_rating` must be a finite number or None. Received: {min_rating!r}.")
        if "rating" not in frame.columns:
            raise InputError(
                f"`min_rating` needs a rating column (name it with --rating-col). "
                f"Received: {min_rating} and the columns {frame.columns}."
            )
    if missing := {"user", "item"}.difference(frame.columns):
        raise InputError(f"`frame` must have a column {min(missing)!r}. Received: {frame.columns}.")
    if not frame.height:
        raise InputError("`frame` must have at least one interaction. Received: 0 rows.")
    return typed_columns(frame, "`frame`")


def _check_k_core(k: int) -> None:
    if not isinstance(k, numbers.Integral) or isinstance(k, bool) or k < 1:
        raise InputError(f"`k_core` must be a positive integer. Received: {k!r}.")


def _without_duplicates(frame: pl.DataFrame) -> pl.DataFrame:
    if "time" not in frame.columns:
        return frame
    return frame.unique(["user", "item", "time"], keep="first", maintain_order=True)


def _number(frame: pl.DataFrame, counts: dict[str, int]) -> InteractionLog:
    users = frame["user"].unique(maintain_order=True)
    frame = frame.with_columns(_places(frame["user"], users))
    frame = frame.sort([name for name in ("place", "time") if name in frame.columns], maintain_order=True)
    lengths = np.bincount(frame["place"], minlength=len(users))
    items = frame["item"].unique(maintain_order=True)
    return InteractionLog(
        item_index=_places(frame["item"], items).to_numpy().astype(np.int32) + np.int32(1),
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        users=users,
        items=items,
        counts=counts,
    )


def _places(raw: pl.Series, table: pl.Series) -> pl.Series:
    """Where each value stands in a table of distinct values, as a column `place`."""
    places = table.to_frame().with_row_index("place")
    return raw.to_frame().join(places, on=raw.name, how="left", maintain_order="left")["place"]


def _rows(frame: pl.DataFrame) -> str:
    return f"{frame.height} rows ({frame['user'].n_unique()} users, {frame['item'].n_unique()} items)"
