"""Crop, mask and reorder: what may change of a history, and what may not."""

import keras
import numpy as np
import pytest

from metasgcl_tf.data import augmentations

LENGTH, ROWS = 12, 2000
COUNTS = np.arange(ROWS) % (LENGTH + 1)  # histories of 0 to 12 items
X = np.stack([np.pad(np.arange(1, n + 1), (LENGTH - n, 0)) for n in COUNTS]).astype(np.int32)
STEPS = np.arange(LENGTH)


def run(function):
    found = function(X, keras.random.SeedGenerator(3))
    return [np.asarray(each) for each in (found if isinstance(found, tuple) else (found,))]


def runs_of(row):
    """How many separate stretches of True a row has."""
    return np.count_nonzero(np.diff(np.concatenate([[0], row.astype(int)])) == 1)


@pytest.mark.parametrize("name", ["crop", "mask", "reorder", "augment"])
def test_lengths_stay_and_padding_stays_padding(name):
    changed = run(getattr(augmentations, name))[0]
    assert changed.shape == X.shape and changed.dtype == X.dtype
    assert (changed[X == 0] == 0).all()


def test_a_crop_keeps_one_run_of_three_fifths_in_its_place():
    (cropped,) = run(augmentations.crop)
    kept = cropped != 0
    np.testing.assert_array_equal(cropped[kept], X[kept])
    np.testing.assert_array_equal(kept.sum(1), np.where(COUNTS > 0, np.maximum(1, COUNTS * 6 // 10), 0))
    assert {runs_of(row) for row in kept[COUNTS > 0]} == {1}
    begins = np.argmax(kept[COUNTS == 10], axis=1)
    assert set(begins) == set(range(2, 7))  # anywhere from the oldest item on to the last place for six


def test_a_mask_takes_three_tenths_of_the_items_from_anywhere():
    (masked,) = run(augmentations.mask)
    kept = masked != 0
    np.testing.assert_array_equal(masked[kept], X[kept])
    np.testing.assert_array_equal(COUNTS - kept.sum(1), COUNTS * 3 // 10)
    taken = ~kept[COUNTS == 10][:, 2:]
    share = taken.mean(0)  # 153 rows: a standard error of .037
    assert (np.abs(share - 0.3) < 0.15).all() and len(np.unique(taken, axis=0)) > 50


def test_a_reordering_shuffles_one_run_of_three_fifths():
    reordered, sees_no_future = run(augmentations.reorder)
    np.testing.assert_array_equal(np.sort(reordered, axis=1), np.sort(X, axis=1))
    moved = reordered != X
    for row, count in enumerate(COUNTS):
        places = np.flatnonzero(moved[row])
        assert not len(places) or places[-1] - places[0] < max(1, count * 6 // 10)
    ten = moved[COUNTS == 10]
    assert ten.any(1).mean() > 0.9 and set(np.flatnonzero(ten.any(0))) == set(range(2, LENGTH))
    # Whatever is marked sees the same items as in the true history, and most of the rest does not.
    past = [[set(row[: p + 1]) for p in STEPS] for row in reordered]
    same = np.array([[past[row][p] == set(X[row, : p + 1]) for p in STEPS] for row in range(ROWS)])
    assert (same | ~sees_no_future).all()
    assert np.count_nonzero(same & ~sees_no_future) < 0.3 * np.count_nonzero(~sees_no_future)
    assert (~sees_no_future).sum(1).tolist() == np.maximum(0, COUNTS * 6 // 10 - 1).tolist()


def test_each_history_gets_one_of_the_three_changes_all_as_often():
    changed, predicts = run(augmentations.augment)
    ten = COUNTS == 10
    kept = (changed[ten] != 0).sum(1)
    shares = [np.mean(kept == number) for number in (6, 7, 10)]  # cropped, masked, reordered
    assert sum(shares) == 1 and min(shares) > 0.2
    # A position predicts where it holds an item and its past is part of the true one.
    for row in range(ROWS):
        for p in STEPS:
            past = set(changed[row, : p + 1]) - {0}
            assert not predicts[row, p] or (changed[row, p] != 0 and past <= set(X[row, : p + 1]))
    assert predicts[ten].sum() > 0.4 * (changed[ten] != 0).sum()


def test_another_call_changes_other_items():
    seed = keras.random.SeedGenerator(3)
    one, other = (np.asarray(augmentations.augment(X, seed)[0]) for _ in range(2))
    assert (one != other).any(1)[COUNTS > 6].mean() > 0.8
