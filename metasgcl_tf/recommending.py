"""Recommendations of a run for histories in the log's own ids."""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
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
    answered = [(run.model, [row for row, items in enumerate(known) if len(items)])]
    if empty := [row for row, items in enumerate(known) if not len(items)]:
        popular = Pop(run.log.num_items)
        popular.adapt(leave_one_out(run.log))
        answered.append((popular, empty))
    frames = []
    for model, rows in answered:
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            users = None if user_index is None else [user_index[row] for row in batch]
            best, scores = model.recommend(
                _left_padded([known[row] for row in batch]), k, exclude_seen, users
            )
            frames.append(_frame(run.log, batch, np.asarray(best), np.asarray(scores)))
    found = pl.concat(frames).sort("row", maintain_order=True)
    if unanswered := len(names) - found["row"].n_unique():
        warnings.warn(
            f"{unanswered} of {len(names)} histories hold every item of the log: no item is left to "
            "recommend, unless seen ones are included.",
            stacklevel=2,
        )
    user = pl.Series("user", [str(name) for name in names]).gather(found["row"])
    return found.select(user, "rank", "item", "score")


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
            Path(path), separator=separator, infer_schema=False, quote_char=None if separator == "\t" else '"'
        )
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"`titles` should be a CSV or TSV file. Received: {path} ({reason}).") from None
    if not {"item", "title"} <= set(frame.columns):
        raise InputError(
            f"`titles` should have the columns item and title. Received: {frame.columns} in {path}."
        )
    return dict(zip(frame["item"], frame["title"].fill_null(""), strict=True))


def with_titles(found: pl.DataFrame, titles: Mapping[str, str]) -> pl.DataFrame:
    """Recommendations with a column `title` after the items, empty where there is none."""
    named = [titles.get(str(item), "") for item in found["item"]]
    return found.insert_column(found.get_column_index("item") + 1, pl.Series("title", named, pl.String))


def write_recommendations(
    found: pl.DataFrame, path: str | os.PathLike, inputs: Sequence[str | os.PathLike] = ()
) -> None:
    """Writes recommendations as a CSV file.

    Args:
        found: from `recommend`.
        path: the file; an existing one is replaced.
        inputs: files it must not replace.

    Raises:
        InputError: the file cannot be written, or is one of the inputs.
    """
    path = Path(path)
    if any(path.exists() and path.samefile(source) for source in inputs):
        raise InputError(f"`out` should be another file than those read. Received: {str(path)!r}.")
    try:
        path.write_text(found.write_csv(), encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"`out` should be a file that can be written. Received: {str(path)!r} ({error.strerror})."
        ) from None


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


def _left_padded(rows: Sequence[np.ndarray]) -> np.ndarray:
    """`[B, L]` int32, newest last; L is the longest row's length, at least 1."""
    length = max(1, *(len(row) for row in rows))
    return np.stack([np.pad(row, (length - len(row), 0)) for row in rows]).astype(np.int32)


def _frame(log: InteractionLog, rows: Sequence[int], best: np.ndarray, scores: np.ndarray) -> pl.DataFrame:
    """One row for each recommendation; places left over (score -inf) are dropped."""
    found = np.isfinite(scores)
    place, rank = np.nonzero(found)
    items = pl.Series("item", log.raw_items(best[found]), log.items.dtype)
    return pl.DataFrame({"row": np.asarray(rows)[place], "rank": rank + 1}).with_columns(
        items, pl.Series("score", scores[found])
    )
