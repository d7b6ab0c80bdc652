"""Random changes of histories: crop, mask, reorder (Xie et al. 2022, "CL4SRec", section 3.2).

Functions of `[B, L]` int ids, left padded with 0, to the same shape. Padding stays padding, and what was
taken away becomes padding too, at its place: nobody attends to it. Randomness comes from a
`keras.random.SeedGenerator`. They compute with `keras.ops`, so that a model can call them on any backend.
"""

from typing import Any

import keras
from keras import ops

Tensor = Any
Seed = keras.random.SeedGenerator

CROPPED, MASKED, REORDERED = 0.6, 0.3, 0.6  # shares of a history, as in the paper's code


def random_span(item_ids: Tensor, share: float, seed: Seed) -> tuple[Tensor, Tensor]:
    """Where a random run of a share of each history's items begins and ends.

    At least one item long; `[B, 1]` int32 each, the end not included.
    """
    length, count = ops.shape(item_ids)[1], num_real(item_ids)
    size = ops.maximum(share_of(count, share), 1)
    places = ops.maximum(count - size + 1, 1)
    chance = keras.random.uniform(ops.shape(count), seed=seed)
    begin = length - count + ops.cast(ops.floor(chance * ops.cast(places, "float32")), "int32")
    return begin, begin + size


def num_real(item_ids: Tensor) -> Tensor:
    """Items of each history, `[B, 1]` int32."""
    return ops.sum(ops.cast(ops.not_equal(item_ids, 0), "int32"), axis=1, keepdims=True)


def share_of(count: Tensor, share: float) -> Tensor:
    """A share of int32 counts, rounded down."""
    return ops.cast(ops.floor(ops.cast(count, "float32") * share), "int32")


def within(item_ids: Tensor, begin: Tensor, end: Tensor) -> Tensor:
    """`[B, L]` bool, true from `begin` to before `end`."""
    steps = ops.arange(ops.shape(item_ids)[1])[None]
    return ops.logical_and(steps >= begin, steps < end)


def crop(item_ids: Tensor, seed: Seed) -> Tensor:
    """Keeps a random run of `CROPPED` of each history's items, at least one."""
    return ops.where(within(item_ids, *random_span(item_ids, CROPPED, seed)), item_ids, 0)


def mask(item_ids: Tensor, seed: Seed) -> Tensor:
    """Takes away `MASKED` of each history's items, anywhere in it."""
    return ops.where(random_order(item_ids, seed) < share_of(num_real(item_ids), MASKED), 0, item_ids)


def random_order(item_ids: Tensor, seed: Seed) -> Tensor:
    """Places of each history's items in a random order of them, `[B, L]` int32 from 0; padding comes last."""
    chance = keras.random.uniform(ops.shape(item_ids), seed=seed)
    chance = ops.where(ops.equal(item_ids, 0), 2.0, chance)
    return ops.argsort(ops.argsort(chance, axis=1), axis=1)


def reorder(item_ids: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
    """Shuffles a random run of `REORDERED` of each history's items.

    Returns:
        The ids, and `[B, L]` bool: false where a position may see items that the true history has only
        after it, among them its target.
    """
    begin, end = random_span(item_ids, REORDERED, seed)
    steps = ops.broadcast_to(ops.arange(ops.shape(item_ids)[1])[None], ops.shape(item_ids))
    chance = keras.random.uniform(ops.shape(item_ids), seed=seed)
    # Those of the run get any place within it, the others their own.
    inside = ops.cast(begin, "float32") + chance * ops.cast(end - 1 - begin, "float32")
    place = ops.where(within(item_ids, begin, end), inside, ops.cast(steps, "float32"))
    order = ops.argsort(place, axis=1)
    return ops.take_along_axis(item_ids, order, axis=1), ops.logical_not(within(item_ids, begin, end - 1))


def augment(item_ids: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
    """One of the three for each history, all with the same probability.

    Returns:
        The ids, and `[B, L]` bool: positions that hold an item and see none that the true history has only
        after them, so that its next item can be asked for there.
    """
    kind = keras.random.randint((ops.shape(item_ids)[0], 1), 0, 3, seed=seed)
    reordered, sees_no_future = reorder(item_ids, seed)
    changed = ops.where(ops.equal(kind, 0), crop(item_ids, seed), mask(item_ids, seed))
    changed = ops.where(ops.equal(kind, 2), reordered, changed)
    sees_no_future = ops.logical_or(ops.not_equal(kind, 2), sees_no_future)
    return changed, ops.logical_and(ops.not_equal(changed, 0), sees_no_future)
