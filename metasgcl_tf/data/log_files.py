"""The three Parquet files of a prepared log in a run folder."""

import json
import os
from pathlib import Path

import numpy as np
import polars as pl

from metasgcl_tf.data.parquet_files import BROKEN
from metasgcl_tf.errors import InputError, first_line

LogParts = tuple[np.ndarray, np.ndarray, pl.Series, pl.Series, dict[str, int]]


def write(
    folder: str | os.PathLike,
    item_index: np.ndarray,
    offsets: np.ndarray,
    users: pl.Series,
    items: pl.Series,
    counts: dict[str, int],
) -> None:
    """Writes the parts of an InteractionLog; `counts` becomes metadata of interactions.parquet.

    The files are tables anyone can read: `users.parquet` has a column `user` (row u is user u),
    `items.parquet` a column `item` (row i - 1 is item i), `interactions.parquet` the columns
    `user_index` and `item_index`, one row an interaction.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    user_index = np.repeat(np.arange(len(users), dtype=np.int32), np.diff(offsets))
    interactions = pl.DataFrame({"user_index": user_index, "item_index": item_index})
    users.alias("user").to_frame().write_parquet(folder / "users.parquet")
    items.alias("item").to_frame().write_parquet(folder / "items.parquet")
    interactions.write_parquet(folder / "interactions.parquet", metadata={"counts": json.dumps(counts)})


def read(folder: str | os.PathLike) -> LogParts:
    """Reads `item_index, offsets, users, items, counts` as they were written.

    Raises:
        InputError: a file is missing or broken, or the three do not belong together.
    """
    folder = Path(folder)
    users = _read_table(folder / "users.parquet", ["user"])["user"]
    items = _read_table(folder / "items.parquet", ["item"])["item"]
    path = folder / "interactions.parquet"
    interactions = _read_table(path, ["user_index", "item_index"])
    user_index = interactions["user_index"].to_numpy()
    item_index = interactions["item_index"].to_numpy()
    if not _belong_together(user_index, item_index, len(users), len(items)):
        raise InputError(
            f"{path}: indices must be sorted by user and refer to the {len(users)} users and {len(items)} "
            "items of the files beside it. Received: others, so the files are not of one log."
        )
    offsets = np.zeros(len(users) + 1, np.int64)
    np.cumsum(np.bincount(user_index, minlength=len(users)), out=offsets[1:])
    counts = json.loads(pl.read_parquet_metadata(path).get("counts", "{}"))
    return item_index, offsets, users, items, counts


def _read_table(path: Path, columns: list[str]) -> pl.DataFrame:
    try:
        return pl.read_parquet(path, columns=columns, glob=False, hive_partitioning=False)
    except OSError:
        raise InputError(f"{path}: no such file; a prepared log has one.") from None
    except BROKEN as error:
        raise InputError(f"{path}: not a table with columns {columns} ({first_line(error)}).") from None


def _belong_together(user_index: np.ndarray, item_index: np.ndarray, num_users: int, num_items: int) -> bool:
    if not (user_index.dtype == item_index.dtype == np.int32):
        return False
    if not len(item_index):
        return True
    by_user = (np.diff(user_index) >= 0).all() and user_index[0] >= 0 and user_index[-1] < num_users
    return bool(by_user and item_index.min() >= 1 and item_index.max() <= num_items)
