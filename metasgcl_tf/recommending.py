"""Recommendations of a run for histories in the log's own ids."""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import Pop, SequentialRecommender
from metasgcl_tf.run_folder import Run

BATCH = 256


def recommend(
    run: Run,
    histories: Mapping[Any, Sequence[Any]],
    *,
    k: int = 10,
    exclude_seen: bool = True,
    user_index: Sequence[int] | None = None,
) -> pl.DataFrame:
    """The k best next items for each history.

    Works for users the model never saw: only the history counts. Items the log does not have are left
    out with a warning; a history with nothing left is answered with the most popular items.

    Args:
        run: a loaded run, see `metasgcl_tf.run_folder.load_run`.
        histories: any name for each history -> its raw item ids, oldest first.
        k: how many, 1..V.
        exclude_seen: do not recommend items of the history.
        user_index: whose histories they are, as rows of the log, if all are of its users.

    Returns:
        A table with the columns user, rank (from 1), item (raw id) and score, best first within a user.

    Raises:
        InputError: k is out of range, or there is no history.
    """
    names, known = list(histories), _known_items(run.log, histories.values())
    if not names:
        raise InputError("`histories` should hold at least one history. Received: none.")
    answered = []
    if full := [row for row, items in enumerate(known) if len(items)]:
        answered.append((run.model, full))
    if empty := [row for row, items in enumerate(known) if not len(items)]:
        popular = Pop(run.log.num_items)
        popular.adapt(leave_one_out(run.log))
        answered.append((popular, empty))
    frames = []
    for model, rows in answered:
        users = None if user_index is None else [user_index[row] for row in rows]
        best = best_next(model, run.log, [known[row] for row in rows], k, exclude_seen, users)
        frames.append(best.with_columns(pl.Series("row", rows, pl.Int64).gather(best["row"])))
    found = pl.concat(frames).sort("row", maintain_order=True)
    warn_of_unanswered(len(names) - found["row"].n_unique(), len(names))
    user = pl.Series("user", [str(name) for name in names]).gather(found["row"])
    return found.select(user, "rank", "item", "score")


def best_next(
    model: SequentialRecommender,
    log: InteractionLog,
    histories: Sequence[np.ndarray],
    k: int,
    exclude_seen: bool,
    user_index: Sequence[int] | None = None,
) -> pl.DataFrame:
    """The k best next items of histories in dense ids, `BATCH` of them at a time.

    Args:
        model: of the items of the log.
        log: has the raw ids.
        histories: item indices of each, oldest first; one history at least.
        k: how many, 1..V.
        exclude_seen: do not recommend items of the history.
        user_index: whose histories they are, as rows of the log, if all are of its users.

    Returns:
        A table with the columns row (of the history), rank (from 1), item (raw id) and score, in the order of
        the histories, best first.
    """
    frames = []
    for start in range(0, len(histories), BATCH):
        batch = slice(start, start + BATCH)
        users = None if user_index is None else user_index[batch]
        best, scores = model.recommend(left_padded(histories[batch]), k, exclude_seen, users)
        frames.append(_frame(log, start, np.asarray(best), np.asarray(scores)))
    return pl.concat(frames)


def warn_of_unanswered(unanswered: int, histories: int) -> None:
    """Warns where a number of histories have no answer."""
    if unanswered:
        warnings.warn(
            f"{unanswered} of {histories} histories hold every item of the log: no item is left to "
            "recommend, unless seen ones are included.",
            stacklevel=3,
        )


def how_many(log: InteractionLog, k: int | None) -> int:
    """k, or where it is left open 10, or all items where there are fewer."""
    return min(10, log.num_items) if k is None else k


def user_of(log: InteractionLog, user: str) -> int:
    """The row of a user in the log.

    Raises:
        InputError: the log has no such user.
    """
    index = log.user_index(user)
    if index is None:
        raise InputError(
            f"`user` should be one of the {log.num_users:,} users of the log; for others give a history. "
            f"Received: `user` = {user!r}."
        )
    return index


def _known_items(log: InteractionLog, histories: Iterable[Sequence[Any]]) -> list[np.ndarray]:
    """Item indices of each history, without items the log does not have; warns of what that loses."""
    known: list[np.ndarray] = []
    unknown: dict[str, None] = {}  # a set that keeps the order
    for items in histories:
        indices = log.item_indices(items)
        known.append(indices[indices > 0])
        unknown |= {str(item): None for item, index in zip(items, indices, strict=True) if index == 0}
    if unknown:
        shown = ", ".join([*unknown][:5]) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(f"Items that are not in the log are ignored ({len(unknown)}): {shown}.", stacklevel=3)
    if empty := sum(not len(indices) for indices in known):
        warnings.warn(
            f"{empty} of {len(known)} histories hold no item of the log: the most popular items follow.",
            stacklevel=3,
        )
    return known


def left_padded(rows: Sequence[np.ndarray], length: int | None = None) -> np.ndarray:
    """`[B, L]` int32, newest last; L is `length`, or the longest row's length, at least 1."""
    if length is None:
        length = max(1, *(len(row) for row in rows))
    return np.stack([np.pad(row, (length - len(row), 0)) for row in rows]).astype(np.int32)


def _frame(log: InteractionLog, first: int, best: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    """One row for each recommendation; places left over (score -inf) are dropped."""
    found = np.isfinite(scores)
    row, rank = np.nonzero(found)
    items = pl.Series("item", log.raw_items(best[found]), log.items.dtype)
    return pl.DataFrame({"row": first + row, "rank": rank + 1}).with_columns(
        items, pl.Series("score", scores[found])
    )
