"""The log every model trains on: each user's history in dense ids."""

import dataclasses
import functools
import os
from collections.abc import Sequence

import numpy as np
import polars as pl

from metasgcl_tf.data import log_files
from metasgcl_tf.errors import InputError


@dataclasses.dataclass(frozen=True, eq=False)
class InteractionLog:
    """Every user's history in dense ids, as flat arrays.

    Attributes:
        item_index: int32 [N], values 1..V (0 is padding); one user after another, oldest first.
        offsets: int64 [U + 1]; user u owns `item_index[offsets[u]:offsets[u + 1]]`.
        users: raw user ids, length U, Int64 or String.
        items: raw item ids, length V; `items[i - 1]` is the raw id of item i.
        counts: what happened on the way from the file, such as `rows_read` and `duplicates_dropped`.
    """

    item_index: np.ndarray
    offsets: np.ndarray
    users: pl.Series
    items: pl.Series
    counts: dict[str, int]

    @property
    def num_users(self) -> int:
        """U, the number of users."""
        return len(self.users)

    @property
    def num_items(self) -> int:
        """V, the size of the catalogue; item ids are 1..V."""
        return len(self.items)

    @property
    def num_interactions(self) -> int:
        """N, the number of interactions of all users."""
        return len(self.item_index)

    def history(self, user_index: int) -> np.ndarray:
        """The items of one user, int32 [n], oldest first.

        Raises:
            InputError: `user_index` is not in 0..U - 1.
        """
        if not 0 <= user_index < self.num_users:
            raise InputError(f"`user_index` must be in 0..{self.num_users - 1}. Received: {user_index}.")
        return self.item_index[self.offsets[user_index] : self.offsets[user_index + 1]]

    def user_index(self, raw_user: int | str) -> int | None:
        """The dense index 0..U - 1 of a raw user id, None for an unknown one; "12" finds the integer 12."""
        return self._user_of_text.get(str(raw_user))

    def item_indices(self, raw_items: Sequence[int | str]) -> np.ndarray:
        """The dense ids of raw item ids, int32 [n], 0 where unknown; "12" finds the integer 12."""
        return np.array([self._item_of_text.get(str(raw), 0) for raw in raw_items], np.int32)

    def raw_items(self, item_indices: Sequence[int] | np.ndarray) -> list[int | str]:
        """The raw ids of dense item ids 1..V.

        Raises:
            InputError: an id is not in 1..V (padding, 0, has no raw id).
        """
        indices = np.asarray(item_indices, np.int64)
        outside = (indices < 1) | (indices > self.num_items)
        if outside.any():
            received = indices[outside][0]
            raise InputError(f"`item_indices` must be in 1..{self.num_items}. Received: {received}.")
        return self.items.gather(indices - 1).to_list()

    def save(self, folder: str | os.PathLike) -> None:
        """Writes users.parquet, items.parquet and interactions.parquet, creating the folder if needed."""
        log_files.write(folder, self.item_index, self.offsets, self.users, self.items, self.counts)

    @classmethod
    def load(cls, folder: str | os.PathLike) -> "InteractionLog":
        """Reads exactly what `save` wrote.

        Raises:
            InputError: a file is missing or broken, or the three do not belong together.
        """
        return cls(*log_files.read(folder))

    @functools.cached_property
    def without_repeats(self) -> np.ndarray:
        """`item_index` with 0 in place of each item that its user has had before, int32 [N]."""
        user = np.repeat(np.arange(self.num_users), np.diff(self.offsets))
        _, first = np.unique(user * (self.num_items + 1) + self.item_index, return_index=True)
        kept = np.zeros_like(self.item_index)
        kept[first] = self.item_index[first]
        return kept

    # Looked up as text, so that ids typed by a person and ids from Python find the same row.
    @functools.cached_property
    def _user_of_text(self) -> dict[str, int]:
        return {raw: index for index, raw in enumerate(self.users.cast(pl.String))}

    @functools.cached_property
    def _item_of_text(self) -> dict[str, int]:
        return {raw: index for index, raw in enumerate(self.items.cast(pl.String), start=1)}
