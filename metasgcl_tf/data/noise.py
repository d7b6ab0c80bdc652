"""Training sequences with random items among the real ones, as accidental clicks would put there."""

import dataclasses

import numpy as np

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require

OWN_STREAM = 2  # apart from the draws of an epoch's shuffling and partners, `[seed, epoch]` and `[..., 1]`


def with_noise(split: Split, share: float, seed: int) -> Split:
    """A split to train on, with random items of the catalogue at random places of every training part.

    The held-out items stay at the end of each history, but their histories hold the noise too: evaluate with
    the split as it was.

    Args:
        split: the log and its parts; it stays as it is.
        share: inserted items over those of a training part, between 0 and 1. Of all users together it is met
            to one item, of each to less than one more or less, so that short histories have their share too.
        seed: of which items, and where; the same seed makes the same noise.

    Raises:
        InputError: `share` is not between 0 and 1.
    """
    require(0 <= share <= 1, "noise", "between 0 and 1", share)
    if not share:
        return split
    log, random = split.log, np.random.default_rng([seed, 0, OWN_STREAM])
    lengths, training = np.diff(log.offsets), split.train_end - split.train_begin
    inserted = _inserted(training, share, random.random())
    noise_user = np.repeat(np.arange(log.num_users), inserted)
    user = np.concatenate([np.repeat(np.arange(log.num_users), lengths), noise_user])
    # Items keep their places 0, 1, ... and noise falls before the first, between two or after the last of
    # a training part.
    own_place = np.arange(log.num_interactions) - np.repeat(log.offsets[:-1], lengths)
    noise_place = random.random(len(noise_user)) * (training[noise_user] + 1) - 1
    order = np.lexsort((np.concatenate([own_place, noise_place]), user))
    noise = random.integers(1, log.num_items + 1, len(noise_user), dtype=log.item_index.dtype)
    offsets = log.offsets + np.concatenate([[0], np.cumsum(inserted)])
    item_index = np.concatenate([log.item_index, noise])[order]
    # Each training part ends as far from the end of its history as it did.
    train_end = offsets[1:] - (log.offsets[1:] - split.train_end)
    noisy = dataclasses.replace(log, item_index=item_index, offsets=offsets)
    return dataclasses.replace(split, log=noisy, train_end=train_end)


def _inserted(training: np.ndarray, share: float, start: float) -> np.ndarray:
    """`[U]` int64, how many items go into `[U]` training parts: their running sum, rounded."""
    wanted = np.concatenate([[0.0], np.cumsum(training) * share])
    return np.diff(np.floor(wanted + start).astype(np.int64))
