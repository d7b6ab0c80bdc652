"""Counts of pairs by hand; vectors against their definition in dense matrices."""

import numpy as np
import pytest

from metasgcl_tf.data.cooccurrence import pair_counts, spectral_vectors

# The last two items of each are held out: they tell nothing.
HISTORIES = [[1, 2, 3, 5, 5], [2, 1, 4, 5, 5], [4, 4, 3, 5, 6]]


@pytest.fixture
def split(make_split):
    return make_split(HISTORIES)


def test_pairs_count_less_the_farther_apart_and_the_other_way_round(split):
    counted = {
        (int(a), int(b)): float(count)
        for a, b, count in zip(
            *pair_counts(split, max_distance=2, distance_decay=0.5, backward_weight=0.1), strict=True
        )
    }
    forward = {(1, 2): 1, (2, 3): 1, (1, 3): 0.5, (2, 1): 1, (1, 4): 1, (2, 4): 0.5, (4, 4): 1, (4, 3): 1.5}
    expected = dict.fromkeys(forward, 0.0) | {(b, a): 0.0 for a, b in forward}
    for (a, b), count in forward.items():
        expected[a, b] += count
        expected[b, a] += 0.1 * count
    assert counted == pytest.approx(expected)


@pytest.mark.parametrize("size", [2, 6, 9])
def test_products_are_the_best_ones_for_the_normalised_counts(split, size):
    pairs = {(1, 2): 2.0, (2, 3): 1.0, (1, 3): 0.5, (1, 4): 1.0, (2, 4): 0.5, (3, 4): 1.5}  # both directions
    counts = np.zeros((7, 7))
    for (a, b), count in pairs.items():
        counts[a, b] = counts[b, a] = count
    total = counts.sum(axis=1) + 1
    eigenvalues, eigenvectors = np.linalg.eigh(counts / np.sqrt(np.outer(total, total)))
    best = np.argsort(-eigenvalues)[:size]
    kept = np.maximum(eigenvalues[best], 0)

    vectors = spectral_vectors(split, size, max_distance=2, distance_decay=0.5)

    assert vectors.shape == (7, size)
    np.testing.assert_allclose(
        vectors @ vectors.T, eigenvectors[:, best] * kept @ eigenvectors[:, best].T, atol=1e-3
    )


def test_items_without_a_neighbour_have_none(split, make_split):
    assert np.flatnonzero(np.abs(spectral_vectors(split, 4)).max(axis=1)).tolist() == [1, 2, 3, 4]
    alone = make_split([[1, 2, 3], [2, 2, 2, 1, 3]])
    assert not spectral_vectors(alone, 4).any()
