"""Leave-one-out split: last item of a user for test, the one before for validation, the rest trains."""

import dataclasses
from typing import Literal

import numpy as np

from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.errors import InputError

Part = Literal["valid", "test"]


@dataclasses.dataclass(frozen=True)
class Split:
    """A log and where each user's training part ends. Positions index `log.item_index`.

    Attributes:
        log: the interactions, users one after another, oldest first.
        train_end: `[U]` int64, one past the last training interaction of each user.
        evaluated: `[E]` int64, users with a validation and a test item (3 interactions or more).
    """

    log: InteractionLog
    train_end: np.ndarray
    evaluated: np.ndarray

    @property
    def train_begin(self) -> np.ndarray:
        """`[U]` int64, the first interaction of each user."""
        return self.log.offsets[:-1]

    def target_position(self, part: Part) -> np.ndarray:
        """`[E]` int64, where the held-out item of each evaluated user stands; its history ends there."""
        return self.log.offsets[1:][self.evaluated] - (1 if part == "test" else 2)

    def counts(self) -> dict[str, int]:
        """Sizes of the log, users for training only, and what was dropped on the way."""
        log = self.log
        sizes = {"users": log.num_users, "items": log.num_items, "interactions": log.num_interactions}
        return sizes | {"users_training_only": log.num_users - len(self.evaluated)} | log.counts

    def describe(self) -> str:
        """The counts in one line for people."""
        counts = self.counts()
        dropped = {
            "below_rating": "rows below the rating threshold",
            "duplicates_dropped": "duplicates (same user, item and time)",
            "dropped_by_k_core": f"interactions outside the {counts.get('k_core')}-core",
        }
        notes = [f"; {counts[key]:,} {what} dropped" for key, what in dropped.items() if counts.get(key)]
        if few := counts["users_training_only"]:
            notes.append(f"; {few:,} users with fewer than 3 interactions are for training only")
        return "{users:,} users, {items:,} items, {interactions:,} interactions".format(**counts) + "".join(
            notes
        )

    def _in_training(self) -> np.ndarray:
        """`[N]` bool, which interactions of the log belong to a training part."""
        lengths = np.diff(self.log.offsets)
        return np.arange(self.log.num_interactions) < np.repeat(self.train_end, lengths)

    def item_counts(self) -> np.ndarray:
        """`[V + 1]` int64, training interactions of each item."""
        return np.bincount(self.log.item_index[self._in_training()], minlength=self.log.num_items + 1)

    def training_pairs(self, distance: int) -> tuple[np.ndarray, np.ndarray]:
        """Items that stand `distance` steps apart in a training part: `(earlier [P], later [P])` int32."""
        user = np.repeat(np.arange(self.log.num_users), np.diff(self.log.offsets))
        together = (user[distance:] == user[:-distance]) & self._in_training()[distance:]
        return self.log.item_index[:-distance][together], self.log.item_index[distance:][together]


def leave_one_out(log: InteractionLog) -> Split:
    """Splits a log; users with fewer than 3 interactions are used for training only.

    Raises:
        InputError: no user has 3 interactions, so that nothing could be evaluated.
    """
    begin, end = log.offsets[:-1], log.offsets[1:]
    has_targets = end - begin >= 3
    if not has_targets.any():
        raise InputError(
            "The log needs a user with at least 3 interactions (one to train on, one to validate, one to "
            f"test). Received: {log.num_users} users, the longest history has {int((end - begin).max())}."
        )
    return Split(log, np.where(has_targets, end - 2, end), np.flatnonzero(has_targets))
