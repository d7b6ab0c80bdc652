"""tf.data pipelines: training recipes and the batches of full-ranking evaluation.

Batches hold `item_ids [B, L]` int32 (0 = padding, left padded, newest last), targets and `user_index [B]`.

A training sample is a window of the log: inputs `items[begin:end]`, and the target of the input at p is
`items[p + 1]` where `p + 1 >= first_target`. Both recipes are such windows, as index triples; sequences
are never copied. Every training target of the log belongs to exactly one sample.
"""

import dataclasses
import itertools
import math
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from metasgcl_tf import backend
from metasgcl_tf.data.splitting import Part, Split

if backend.NAME == "jax":
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds; it would take all of its memory


@dataclasses.dataclass(frozen=True)
class Windows:
    """Training samples, `[N]` int64 each: positions in the log's item array, and whose they are."""

    begin: np.ndarray
    end: np.ndarray
    first_target: np.ndarray
    user: np.ndarray

    @property
    def num_targets(self) -> int:
        """Targets over all samples."""
        return int((self.end + 1 - self.first_target).sum())


def all_position_windows(split: Split, max_length: int) -> Windows:
    """One window a user, every position a target; long histories slide.

    A history longer than `max_length` is cut into windows that overlap by a quarter, in which the
    overlap is context only: each target counts once and, but for the user's first ones, sees at least a
    quarter of a window before it.
    """
    stride = max(1, max_length - max_length // 4)
    lengths = np.maximum(split.train_end - split.train_begin - 1, 0)  # inputs that have a target
    windows_of_user = np.where(lengths > 0, 1 + np.ceil(np.maximum(lengths - max_length, 0) / stride), 0)
    user = np.repeat(np.arange(len(lengths)), windows_of_user.astype(np.int64))
    # The running number of each window within its user, from 0 (oldest).
    first_of_user = np.cumsum(windows_of_user) - windows_of_user
    number = np.arange(len(user)) - first_of_user[user].astype(np.int64)
    begin = split.train_begin[user] + number * stride
    end = np.minimum(begin + max_length, split.train_end[user] - 1)
    previous_end = np.where(number > 0, begin - stride + max_length, begin)
    return Windows(begin, end, previous_end + 1, user)


def prefix_windows(split: Split, max_length: int) -> Windows:
    """One sample for every prefix: the newest `max_length` items before each target."""
    targets_of_user = np.maximum(split.train_end - split.train_begin - 1, 0)
    user = np.repeat(np.arange(len(targets_of_user)), targets_of_user)
    first_of_user = np.cumsum(targets_of_user) - targets_of_user
    target = split.train_begin[user] + 1 + np.arange(len(user)) - first_of_user[user]
    return Windows(np.maximum(split.train_begin[user], target - max_length), target, target, user)


def length_buckets(max_length: int) -> np.ndarray:
    """The few lengths that batches are padded to: 1 to 8, then each at most a quarter above the last.

    Where every length costs a compilation of many seconds (JAX): 8, 16, 32 and so on.
    """
    lengths = [8] if backend.static_shapes() else [1]
    while lengths[-1] < max_length:
        step = lengths[-1] if backend.static_shapes() else max(1, lengths[-1] // 4)
        lengths.append(lengths[-1] + step)
    return np.minimum(lengths, max_length)


def bucketed_lengths(lengths: np.ndarray) -> np.ndarray:
    """Each length, at least 1, as the next one of `length_buckets`."""
    buckets = length_buckets(2 * max(1, int(lengths.max())))
    return buckets[np.searchsorted(buckets, lengths)]


def rows_at_once(num_items: int) -> int:
    """How many users to score together: as fast as more of them, yet their scores stay below 32 MB."""
    return max(1, min(512, 2**23 // (num_items + 1)))


def rows_in_cache(num_items: int) -> int:
    """How many users to rank or recommend for together, so that their scores stay in a processor's cache."""
    return max(1, min(128, 2**21 // (num_items + 1)))


def epoch_plan(
    lengths: np.ndarray, buckets: np.ndarray, batch_size: int, seed: int, epoch: int
) -> np.ndarray:
    """Which samples form each batch of an epoch, a function of `(seed, epoch)` alone.

    Samples of one length bucket go together, so that little is padded; what is left over of a bucket is
    batched with the next longer one, so only one batch of the epoch is smaller.

    Returns:
        `[num_batches, batch_size]` int64 sample numbers, -1 where the smaller batch has none.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    order = order[np.argsort(np.searchsorted(buckets, lengths[order]), kind="stable")]
    num_batches = math.ceil(len(order) / batch_size)
    plan = np.full(num_batches * batch_size, -1, dtype=np.int64)
    plan[: len(order)] = order
    return random.permutation(plan.reshape(num_batches, batch_size))


def next_item(
    split: Split, *, max_length: int, batch_size: int, seed: int = 0, first_epoch: int = 0
) -> tf.data.Dataset:
    """Recipe 1: every position of one causal pass predicts its next item.

    Args:
        split: the log and its training parts.
        max_length: longest window, L.
        batch_size: sequences a batch, B.
        seed: of the shuffling.
        first_epoch: number of the first pass over the data set; pass k is shuffled by
            `(seed, first_epoch + k)`, so that a resumed training sees what an uninterrupted one would.

    Returns:
        One epoch a pass of `({"item_ids": [B, L], "user_index": [B]}, targets [B, T], weights [B, T])` with
        T = L; targets align with the newest T positions, 0 where there is none. Weights are 1 / (mean
        number of targets a batch) at targets and 0 elsewhere: the weighted SUM gives every target of the
        log the same say, which a mean over each batch would not.
    """
    windows = all_position_windows(split, max_length)
    return _training_batches(split, windows, max_length, batch_size, seed, first_epoch, newest_only=False)


def every_prefix(
    split: Split, *, max_length: int, batch_size: int, seed: int = 0, first_epoch: int = 0
) -> tf.data.Dataset:
    """Recipe 2: every prefix is a sample of its own, its loss at the newest position only (T = 1).

    Arguments and result as in `next_item`.
    """
    windows = prefix_windows(split, max_length)
    return _training_batches(split, windows, max_length, batch_size, seed, first_epoch, newest_only=True)


def _training_batches(
    split: Split,
    windows: Windows,
    max_length: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    newest_only: bool,
) -> tf.data.Dataset:
    lengths, buckets = windows.end - windows.begin, length_buckets(max_length)
    num_batches = math.ceil(len(lengths) / batch_size)
    weight = tf.constant(num_batches / windows.num_targets, tf.float32)
    items, bucket_lengths = tf.constant(split.log.item_index), tf.constant(buckets)
    begin, end, first_target, user = map(
        tf.constant, (windows.begin, windows.end, windows.first_target, windows.user)
    )
    # One count per pass over the data set, so that each epoch is shuffled anew, yet by its number.
    epochs = itertools.count(first_epoch)

    def plans() -> Iterator[np.ndarray]:
        yield from epoch_plan(lengths, buckets, batch_size, seed, next(epochs))

    def gather(samples: tf.Tensor) -> tuple:
        samples = tf.boolean_mask(samples, samples >= 0)
        sample_end = tf.gather(end, samples)
        sample_begin = tf.gather(begin, samples)
        longest = tf.reduce_max(sample_end - sample_begin)
        length = bucket_lengths[tf.searchsorted(bucket_lengths, longest[None])[0]]
        positions = sample_end[:, None] - length + tf.range(length)
        real = positions >= sample_begin[:, None]
        item_ids = tf.where(real, tf.gather(items, tf.maximum(positions, 0)), 0)
        if newest_only:
            positions = sample_end[:, None] - 1
        is_target = (positions + 1 >= tf.gather(first_target, samples)[:, None]) & (
            positions >= sample_begin[:, None]
        )
        targets = tf.where(is_target, tf.gather(items, tf.maximum(positions, 0) + 1), 0)
        weights = tf.where(is_target, weight, 0.0)
        inputs = {"item_ids": item_ids, "user_index": tf.cast(tf.gather(user, samples), tf.int32)}
        return inputs, targets, weights

    rows = tf.data.Dataset.from_generator(plans, output_signature=tf.TensorSpec([batch_size], tf.int64))
    batches = rows.apply(tf.data.experimental.assert_cardinality(num_batches))
    return batches.map(gather, num_parallel_calls=2, deterministic=True).prefetch(8)


def ranking(split: Split, part: Part, *, max_length: int, batch_size: int | None = None) -> tf.data.Dataset:
    """Batches of full-ranking evaluation over the users that have a held-out item.

    Users come sorted by the length of their history, so that little is padded. For the test part the
    validation item belongs to the history.

    Args:
        split: the log and its parts.
        part: `"valid"` or `"test"`.
        max_length: items of the history that the model sees, L.
        batch_size: users a batch, B; by default as many as `rows_at_once` of the catalogue.

    Returns:
        `({"item_ids": [B, L], "seen": [B, S], "user_index": [B]}, target [B])`. `seen` holds the whole
        history, each item once, 0 = none.
    """
    begin, target_at = split.train_begin[split.evaluated], split.target_position(part)
    order = np.argsort(target_at - begin, kind="stable")
    begin, end, user = map(tf.constant, (begin[order], target_at[order], split.evaluated[order]))
    items, first_seen = tf.constant(split.log.item_index), tf.constant(split.log.without_repeats)
    buckets = tf.constant(length_buckets(int(np.diff(split.log.offsets).max())))

    def newest(values: tf.Tensor, rows: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
        positions = tf.gather(end, rows)[:, None] - length + tf.range(length)
        return tf.where(
            positions >= tf.gather(begin, rows)[:, None], tf.gather(values, tf.maximum(positions, 0)), 0
        )

    def gather(rows: tf.Tensor) -> tuple:
        longest = tf.reduce_max(tf.gather(end, rows) - tf.gather(begin, rows))
        longest = tf.cast(buckets[tf.searchsorted(buckets, longest[None])[0]], tf.int64)
        inputs = {
            "item_ids": newest(items, rows, tf.minimum(longest, max_length)),
            "seen": newest(first_seen, rows, longest),
            "user_index": tf.cast(tf.gather(user, rows), tf.int32),
        }
        return inputs, tf.gather(items, tf.gather(end, rows))

    batches = tf.data.Dataset.range(len(order)).batch(batch_size or rows_at_once(split.log.num_items))
    return batches.map(gather, num_parallel_calls=2, deterministic=True).prefetch(4)
