"""Figure 6: alignment, uniformity and spectrum of vectors whose answers are known."""

import numpy as np
import pytest

from metasgcl_tf import item_vectors
from metasgcl_tf.item_vectors import alignment, geometry, uniformity

SQUARE = np.array([[3.0, 0], [0, 2], [-1, 0], [0, -5]])  # on the unit circle: a square of side sqrt(2)


def test_alignment_by_hand():
    # 1 -> 2 and 2 -> 3 are a quarter apart (2 each), 1 -> 3 opposite (4), 4 -> 4 the same (0).
    assert alignment(SQUARE, np.array([1, 2, 1, 4]), np.array([2, 3, 3, 4])) == pytest.approx(2.0)
    assert alignment(SQUARE, np.array([1, 1]), np.array([1, 1])) == pytest.approx(0)


def test_uniformity_by_hand():
    # Of the 6 pairs 4 have d^2 = 2 and 2 have d^2 = 4.
    assert uniformity(SQUARE) == pytest.approx(np.log((4 * np.exp(-4) + 2 * np.exp(-8)) / 6))
    assert uniformity(np.ones((5, 3))) == pytest.approx(0)


def test_many_pairs_are_drawn_and_say_about_the_same(monkeypatch):
    vectors = np.random.default_rng(0).normal(size=(300, 16))
    whole = uniformity(vectors)
    monkeypatch.setattr(item_vectors, "PAIRS", 20_000)
    assert uniformity(vectors) == uniformity(vectors) == pytest.approx(whole, abs=0.02)
    monkeypatch.setattr(item_vectors, "PAIRS", 3)
    assert alignment(SQUARE, np.ones(9, int), np.full(9, 3)) == pytest.approx(4)


def test_geometry_of_vectors_along_two_axes(make_split, monkeypatch):
    vectors = np.zeros((6, 4))
    vectors[:3, 0], vectors[3:, 1] = 2.0, 1.0
    split = make_split([[1, 2, 4, 5, 6], [3, 1, 2, 6]])  # trained on 1 2 4 and 3 1
    found = geometry(vectors, split)
    assert found["spectrum"] == pytest.approx([1, 0.5, 0, 0])
    assert np.abs(found["points"]) == pytest.approx(np.abs(vectors[:, :2]))
    assert found["items"] == [1, 2, 3, 4, 5, 6] and found["popularity"] == [2, 1, 1, 1, 0, 0]
    assert found["alignment"] == pytest.approx((0 + 2 + 0) / 3)  # 1 2, 2 4, 3 1
    monkeypatch.setattr(item_vectors, "SHOWN_ITEMS", 2)
    assert len(geometry(vectors, split)["points"]) == 2
