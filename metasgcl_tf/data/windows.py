"""Training samples as windows of the log: index triples, so that sequences are never copied."""

import dataclasses

import numpy as np

from metasgcl_tf.data.splitting import Split


@dataclasses.dataclass(frozen=True)
class Windows:
    """Training samples, `[N]` int64 each: positions in the log's item array, and whose they are.

    The inputs are `items[begin:end]`, and the target of the input at p is `items[p + ahead]` where
    `p + ahead >= first_target`.
    """

    begin: np.ndarray
    end: np.ndarray
    first_target: np.ndarray
    user: np.ndarray
    ahead: int = 1

    @property
    def num_targets(self) -> int:
        """Targets over all samples."""
        return int((self.end + self.ahead - self.first_target).sum())


def all_position_windows(split: Split, max_length: int) -> Windows:
    """One window a user, every position predicts the next item; long histories slide.

    A history longer than `max_length` is cut into windows that overlap by a quarter, in which the
    overlap is context only: each target counts once and, but for the user's first ones, sees at least a
    quarter of a window before it.
    """
    return _sliding_windows(split, max_length, ahead=1)


def own_item_windows(split: Split, max_length: int) -> Windows:
    """Windows as in `all_position_windows`, the last training item among them, each item its own target."""
    return _sliding_windows(split, max_length, ahead=0)


def _sliding_windows(split: Split, max_length: int, ahead: int) -> Windows:
    stride = max(1, max_length - max_length // 4)
    lengths = np.maximum(split.train_end - split.train_begin - ahead, 0)  # inputs that have a target
    windows_of_user = np.where(lengths > 0, 1 + np.ceil(np.maximum(lengths - max_length, 0) / stride), 0)
    user = np.repeat(np.arange(len(lengths)), windows_of_user.astype(np.int64))
    # The running number of each window within its user, from 0 (oldest).
    first_of_user = np.cumsum(windows_of_user) - windows_of_user
    number = np.arange(len(user)) - first_of_user[user].astype(np.int64)
    begin = split.train_begin[user] + number * stride
    end = np.minimum(begin + max_length, split.train_end[user] - ahead)
    previous_end = np.where(number > 0, begin - stride + max_length, begin)
    return Windows(begin, end, previous_end + ahead, user, ahead)


def prefix_windows(split: Split, max_length: int) -> Windows:
    """One sample for every prefix: the newest `max_length` items before each target."""
    user, target = _targets(split, after=1)
    return Windows(np.maximum(split.train_begin[user], target - max_length), target, target, user)


def interaction_windows(split: Split) -> Windows:
    """One sample for every interaction, a user's first one too, without any input."""
    user, target = _targets(split, after=0)
    return Windows(target, target, target, user)


def _targets(split: Split, after: int) -> tuple[np.ndarray, np.ndarray]:
    """Every training item after so many of its user's first: `(whose [N], where in the log [N])`."""
    targets_of_user = np.maximum(split.train_end - split.train_begin - after, 0)
    user = np.repeat(np.arange(len(targets_of_user)), targets_of_user)
    first_of_user = np.cumsum(targets_of_user) - targets_of_user
    return user, split.train_begin[user] + after + np.arange(len(user)) - first_of_user[user]


def another_alike(labels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """For each of `[N]` labels another place that has it, all equally likely; its own where none has."""
    _, group, size = np.unique(labels, return_inverse=True, return_counts=True)
    begin = (np.cumsum(size) - size)[group]
    size = size[group]
    order = np.argsort(group, kind="stable")  # one group after another
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    steps = random.integers(1, np.maximum(size, 2))
    return order[begin + (place - begin + steps) % size]
