"""A log that goes on: new interactions behind the old ones, new users and items behind the known ones."""

import warnings

import numpy as np
import polars as pl

from metasgcl_tf.data.interactions import InteractionLog

APPENDED = "appended"  # a key of `counts`: interactions that came after the first log


def appended(log: InteractionLog, more: InteractionLog) -> InteractionLog:
    """A log followed by a later one.

    Known users and items keep their dense ids, whose order models rely on; new ones follow in the order of
    `more`. Its interactions come after the history that a user has already. Ids are compared as text, as
    everywhere; where only one of the logs has integers, ids become text.

    Args:
        log: the log so far.
        more: what happened after it. A warning is given where most of it had happened before.

    Returns:
        The whole log. Its `counts` are the sums of both, and `appended`; `k_core` is that of `log`.
    """
    users, user_of = _with_new(log.users, more.users)
    items, item_of = _with_new(log.items, more.items)
    user = np.concatenate([_user_of_each(log), user_of[_user_of_each(more)]])
    item = np.concatenate([log.item_index, item_of[more.item_index - 1] + 1]).astype(np.int32)
    _warn_of_repeats(user * (len(items) + 1) + item, log.num_interactions)
    lengths = np.bincount(user, minlength=len(users))
    counts = {name: log.counts.get(name, 0) + more.counts.get(name, 0) for name in log.counts | more.counts}
    if "k_core" in log.counts:
        counts["k_core"] = log.counts["k_core"]
    return InteractionLog(
        item_index=item[np.argsort(user, kind="stable")],
        offsets=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        users=users,
        items=items,
        counts=counts | {APPENDED: log.counts.get(APPENDED, 0) + more.num_interactions},
    )


def _with_new(known: pl.Series, named: pl.Series) -> tuple[pl.Series, np.ndarray]:
    """The known ids with the new ones behind them, and where each of those named stands in that."""
    if known.dtype != named.dtype:
        known, named = known.cast(pl.String), named.cast(pl.String)
    ids = pl.concat([known, named.rename(known.name)]).unique(maintain_order=True)
    places = ids.to_frame("id").with_row_index("place")
    found = named.to_frame("id").join(places, on="id", how="left", maintain_order="left")
    return ids, found["place"].to_numpy().astype(np.int64)


def _user_of_each(log: InteractionLog) -> np.ndarray:
    return np.repeat(np.arange(log.num_users), np.diff(log.offsets))


def _warn_of_repeats(pairs: np.ndarray, before: int) -> None:
    """Warns where most users and items that come after the first `before` are pairs that were there."""
    repeated = int(np.isin(pairs[before:], pairs[:before]).sum())
    if 2 * repeated > len(pairs) - before:
        warnings.warn(
            f"{repeated:,} of {len(pairs) - before:,} new interactions are with items that their user had "
            "before. Is the old log in the new file too? Only what came after it should be.",
            stacklevel=3,
        )
