"""tf.data pipelines: training recipes and the batches of full-ranking evaluation.

Batches hold `item_ids [B, L]` int32 (0 = padding, left padded, newest last), targets and `user_index [B]`.

The samples of every recipe are windows of the log, see `metasgcl_tf.data.windows`; every training target of
the log belongs to exactly one of them.
"""

import itertools
import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from metasgcl_tf import backend
from metasgcl_tf.data.splitting import Part, Split
from metasgcl_tf.data.windows import (
    Windows,
    all_position_windows,
    another_alike,
    interaction_windows,
    own_item_windows,
    prefix_windows,
)
from metasgcl_tf.errors import require

if backend.NAME == "jax":
    tf.config.set_visible_devices([], "GPU")  # TensorFlow only feeds; it would take all of its memory


def length_buckets(max_length: int) -> np.ndarray:
    """The few lengths that batches are padded to: 1 to 8, then each at most a quarter above the last.

    Where every length costs a compilation of half a minute (JAX): 16, 64, 256 and so on.
    """
    lengths = [16] if backend.static_shapes() else [1]
    while lengths[-1] < max_length:
        step = 3 * lengths[-1] if backend.static_shapes() else max(1, lengths[-1] // 4)
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
    lengths: np.ndarray,
    buckets: np.ndarray,
    batch_size: int,
    seed: int,
    epoch: int,
    partner_lengths: np.ndarray | None = None,
) -> np.ndarray:
    """Which samples form each batch of an epoch, a function of `(seed, epoch)` alone.

    Samples of one length bucket go together, so that little is padded; what is left over of a bucket is
    batched with the next longer one, so only one batch of the epoch is smaller. Within a bucket those go
    together whose partners are of one bucket, if there are partners.

    Returns:
        `[num_batches, batch_size]` int64 sample numbers, -1 where the smaller batch has none.
    """
    random = np.random.default_rng([seed, epoch])
    order = random.permutation(len(lengths))
    own = np.searchsorted(buckets, lengths[order])
    partners = np.searchsorted(buckets, partner_lengths[order]) if partner_lengths is not None else 0 * own
    # Up in one bucket and down in the next, so that a batch of two buckets has like partners too.
    order = order[np.lexsort((np.where(own % 2, -partners, partners), own))]
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


def own_item(
    split: Split, *, max_length: int, batch_size: int, seed: int = 0, first_epoch: int = 0
) -> tf.data.Dataset:
    """Recipe 3: every item of the training part is its own target, for a model that hides it (Cloze).

    Arguments and result as in `next_item`, with the target of each position in `item_ids` itself. Windows
    reach to the last training item. What two windows of a long history share is a target in the older one.
    """
    windows = own_item_windows(split, max_length)
    return _training_batches(split, windows, max_length, batch_size, seed, first_epoch, newest_only=False)


def prefix_pairs(
    split: Split, *, max_length: int, batch_size: int, seed: int = 0, first_epoch: int = 0
) -> tf.data.Dataset:
    """Recipe 4: `every_prefix`, each beside another prefix that has the same target.

    Arguments and result as in `next_item`; the inputs hold `same_target_ids` `[B, L]` too, the items of a
    sample drawn anew each epoch, by `(seed, epoch)`, among all others with the same target; the sample itself
    where there is none. Their L is one of its own.
    """
    windows = prefix_windows(split, max_length)
    targets = split.log.item_index[windows.first_target]

    def partners(epoch: int) -> np.ndarray:
        return another_alike(targets, np.random.default_rng([seed, epoch, 1]))

    return _training_batches(split, windows, max_length, batch_size, seed, first_epoch, True, partners)


def every_interaction(
    split: Split, *, max_length: int = 1, batch_size: int, seed: int = 0, first_epoch: int = 0
) -> tf.data.Dataset:
    """Recipe 5: every interaction of a user is a sample, for models that know users and no order (T = 1).

    Arguments and result as in `next_item`, but `item_ids` hold padding alone, whatever `max_length`.
    """
    windows = interaction_windows(split)
    return _training_batches(split, windows, 1, batch_size, seed, first_epoch, newest_only=True)


def _training_batches(
    split: Split,
    windows: Windows,
    max_length: int,
    batch_size: int,
    seed: int,
    first_epoch: int,
    newest_only: bool,
    partners: Callable[[int], np.ndarray] | None = None,
) -> tf.data.Dataset:
    """Batches of windows, each with the one that `partners(epoch)` `[N]` names, if given."""
    require(max_length >= 1, "max_length", "at least 1", max_length)
    require(batch_size >= 1, "batch_size", "at least 1", batch_size)
    rule = "of a log with something to train on, a user with 4 interactions"
    require(windows.num_targets > 0, "split", rule, split.describe())
    lengths, buckets = windows.end - windows.begin, length_buckets(max_length)
    batch_size = min(batch_size, len(lengths))  # the plan has so many columns, used or not
    num_batches = math.ceil(len(lengths) / batch_size)
    plan_shape = [num_batches, batch_size, 2 if partners else 1]
    # One count per pass over the data set, so that each epoch is shuffled anew, yet by its number.
    epochs = itertools.count(first_epoch)

    def plan() -> np.ndarray:
        epoch = next(epochs)
        if partners is None:
            return epoch_plan(lengths, buckets, batch_size, seed, epoch)[..., None]
        pairs = np.stack([np.arange(len(lengths)), partners(epoch)], axis=1)
        rows = epoch_plan(lengths, buckets, batch_size, seed, epoch, lengths[pairs[:, 1]])
        return np.where(rows[..., None] >= 0, pairs[rows], -1)

    def rows_of_epoch(_: tf.Tensor) -> tf.data.Dataset:
        planned = tf.numpy_function(plan, [], tf.int64)
        return tf.data.Dataset.from_tensor_slices(tf.ensure_shape(planned, plan_shape))

    # Not `from_generator`: its operation sets glibc's mmap threshold to 128 KiB for the whole process, and
    # every larger tensor of a step then takes fresh pages, see `backend.keep_freed_memory`.
    rows = tf.data.Dataset.range(1).flat_map(rows_of_epoch)
    batches = rows.apply(tf.data.experimental.assert_cardinality(num_batches))
    gather = _gatherer(split, windows, buckets, num_batches / windows.num_targets, newest_only)
    return _gathered(batches, gather, ahead=8)


def _gatherer(
    split: Split, windows: Windows, buckets: np.ndarray, weight: float, newest_only: bool
) -> Callable[[tf.Tensor], tuple]:
    """A function of `[B, 1 or 2]` sample numbers, -1 = none: inputs, targets and weights of the first column.

    A second column becomes `same_target_ids`.
    """
    items, bucket_lengths = tf.constant(split.log.item_index), tf.constant(buckets)
    begin, end, first_target, user = map(
        tf.constant, (windows.begin, windows.end, windows.first_target, windows.user.astype(np.int32))
    )

    def window(samples: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Items of `[B]` samples, `[B, L]`, and where in the log they are."""
        sample_begin, sample_end = _column(begin, samples), _column(end, samples)
        length = _padded_length(bucket_lengths, tf.reduce_max(sample_end - sample_begin))
        positions = sample_end - length + tf.range(length)
        return tf.where(positions >= sample_begin, tf.gather(items, tf.maximum(positions, 0)), 0), positions

    def gather(samples: tf.Tensor) -> tuple:
        columns = tf.unstack(tf.boolean_mask(samples, samples[:, 0] >= 0), axis=1)
        samples = columns[0]
        item_ids, positions = window(samples)
        inputs = {"item_ids": item_ids, "user_index": tf.gather(user, samples)}
        if len(columns) == 2:
            inputs["same_target_ids"] = window(columns[1])[0]
        targets_at = (positions[:, -1, None] if newest_only else positions) + windows.ahead
        is_target = targets_at >= _column(first_target, samples)
        targets = tf.where(is_target, tf.gather(items, tf.maximum(targets_at, 0)), 0)
        return inputs, targets, tf.where(is_target, tf.constant(weight, tf.float32), 0.0)

    return gather


def _column(values: tf.Tensor, rows: tf.Tensor) -> tf.Tensor:
    """`[B, 1]` of `[N]` values. Each pipeline traces this anew, and a slice takes four operations."""
    return tf.expand_dims(tf.gather(values, rows), 1)


def _padded_length(buckets: tf.Tensor, longest: tf.Tensor) -> tf.Tensor:
    """The first of some ascending lengths that is enough."""
    return tf.reduce_min(tf.where(buckets >= longest, buckets, buckets.dtype.max))


def _gathered(batches: tf.data.Dataset, gather: Callable[[tf.Tensor], tuple], ahead: int) -> tf.data.Dataset:
    """What `gather` makes of each batch of numbers, so many batches ahead, in two threads.

    Without the tuner of tf.data, which has nothing to choose here: where a core is busy, the end of an
    iterator can wait for the tuner's next round, by then up to as long as the iterator has lived.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.map(gather, num_parallel_calls=2, deterministic=True).prefetch(ahead).with_options(options)


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
    user = split.evaluated[order].astype(np.int32)
    begin, end, user = map(tf.constant, (begin[order], target_at[order], user))
    items, first_seen = tf.constant(split.log.item_index), tf.constant(split.log.without_repeats)
    buckets = tf.constant(length_buckets(int(np.diff(split.log.offsets).max())))

    def gather(rows: tf.Tensor) -> tuple:
        row_begin, row_end = _column(begin, rows), _column(end, rows)
        longest = _padded_length(buckets, tf.reduce_max(row_end - row_begin))
        positions = row_end - longest + tf.range(longest)
        is_real, positions = positions >= row_begin, tf.maximum(positions, 0)
        inputs = {
            "item_ids": tf.where(is_real, tf.gather(items, positions), 0)[:, -max_length:],
            "seen": tf.where(is_real, tf.gather(first_seen, positions), 0),
            "user_index": tf.gather(user, rows),
        }
        return inputs, tf.gather(items, tf.gather(end, rows))

    batches = tf.data.Dataset.range(len(order)).batch(batch_size or rows_at_once(split.log.num_items))
    return _gathered(batches, gather, ahead=4)
