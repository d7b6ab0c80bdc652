"""Recommendations of a run for histories in the log's own ids."""

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.readers import read_interactions
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import Pop
from metasgcl_tf.run_folder import Run

BATCH = 256


def recommend(
    run: Run, histories: Mapping[Any, Sequence[Any]], *, k: int = 10, exclude_seen: bool = True
) -> pl.DataFrame:
    """The k best next items for each history.

    Works for users the model never saw: only the history counts. Items the log does not have are left
    out with a warning; a history with nothing left is answered with the most popular items.

    Args:
        run: a loaded run, see `metasgcl_tf.run_folder.load_run`.
        histories: any name for each history -> its raw item ids, oldest first.
        k: how many, 1..V.
        exclude_seen: do not recommend items of the history.

    Returns:
        A table with the columns user, rank (from 1), item (raw id) and score, best first within a user.

    Raises:
        InputError: k is out of range.
    """
    known = {user: _known_items(run.log, items) for user, items in histories.items()}
    popular = Pop(run.log.num_items)
    popular.adapt(leave_one_out(run.log))
    frames = []
    for model, users in (
        (run.model, [user for user, items in known.items() if len(items)]),
        (popular, [user for user, items in known.items() if not len(items)]),
    ):
        for start in range(0, len(users), BATCH):
            batch = users[start : start + BATCH]
            rows = [known[user] for user in batch]
            best, scores = model.recommend(_left_padded(rows), k, exclude_seen)
            frames.append(_frame(run.log, batch, np.asarray(best), np.asarray(scores)))
    order = {user: place for place, user in enumerate(histories)}
    found = pl.concat(frames)
    return found.sort(found["user"].replace_strict(order, return_dtype=pl.Int64), maintain_order=True)


def history_of(log: InteractionLog, user: str) -> list[Any]:
    """The whole history of a user of the log, raw ids, oldest first.

    Raises:
        InputError: the log has no such user.
    """
    index = log.user_index(user)
    if index is None:
        raise InputError(
            f"`user` should be one of the {log.num_users:,} users of the log; for others give a history. "
            f"Received: `user` = {user!r}."
        )
    return log.raw_items(log.history(index))


def read_histories(path: str | os.PathLike) -> dict[Any, list[Any]]:
    """Histories by user from any file that `read_interactions` reads, oldest first."""
    frame = read_interactions(path)
    if "time" in frame.columns:
        frame = frame.sort("time", maintain_order=True)
    grouped = frame.group_by("user", maintain_order=True).agg("item")
    return dict(zip(grouped["user"].to_list(), grouped["item"].to_list(), strict=True))


def read_titles(path: str | os.PathLike) -> dict[str, str]:
    """Titles by raw item id (as text) from a CSV or TSV file with the columns item and title.

    Raises:
        InputError: no such file, not a table, or a column is missing.
    """
    separator = "\t" if Path(path).suffix == ".tsv" else ","
    try:
        frame = pl.read_csv(
            path, separator=separator, infer_schema=False, quote_char=None if separator == "\t" else '"'
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"`titles` should be a CSV or TSV file. Received: {path} ({reason}).") from None
    if not {"item", "title"} <= set(frame.columns):
        raise InputError(
            f"`titles` should have the columns item and title. Received: {frame.columns} in {path}."
        )
    return dict(zip(frame["item"], frame["title"].fill_null(""), strict=True))


def _known_items(log: InteractionLog, items: Sequence[Any]) -> np.ndarray:
    """Item indices of a history, without those the log does not have."""
    indices = log.item_indices(items)
    unknown = [str(item) for item, index in zip(items, indices, strict=True) if index == 0]
    if unknown:
        left = "" if len(unknown) < len(items) else "; nothing is left, so the most popular items follow"
        shown = ", ".join(unknown[:5]) + (", ..." if len(unknown) > 5 else "")
        warnings.warn(f"{len(unknown)} items are not in the log and are ignored: {shown}{left}", stacklevel=3)
    return indices[indices > 0]


def _left_padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """`[B, L]` int32, newest last; L is the longest row's length, at least 1."""
    length = max(1, *(len(row) for row in rows))
    return np.stack([np.pad(row, (length - len(row), 0)) for row in rows]).astype(np.int32)


def _frame(log: InteractionLog, users: Sequence[Any], best: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    """One row for each recommendation; places left over (score -inf) are dropped."""
    found = np.isfinite(scores)
    row, rank = np.nonzero(found)
    return pl.DataFrame(
        {
            "user": [str(users[i]) for i in row],
            "rank": rank + 1,
            "item": log.raw_items(best[found]),
            "score": scores[found],
        }
    )
