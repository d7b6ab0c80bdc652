"""Losses against sampled negatives: by hand, against loops of their formulas, at their limits."""

import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.sampled_losses import bce, bpr, bpr_max, gbce, sampled_softmax, top1_max


def float32(*arrays):
    return [x.astype(np.float32) for x in arrays]


# ---- sampled_softmax ----------------------------------------------------------------------------


def test_sampled_softmax_by_hand():
    # Odds 1 against 3, 4 and 8: probability 1/16; and 8 against 8: 1/2.
    loss = sampled_softmax(np.log([1.0, 8.0]), np.log([[3.0, 4.0, 8.0], [2.0, 5.0, 1.0]]))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, [math.log(16), math.log(2)], rtol=1e-6)


def test_sampled_softmax_of_every_other_item_once_is_the_full_softmax():
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 3, 7)).astype(np.float32), rng.integers(0, 7, (2, 3))
    others = [[np.delete(logits[b, i], targets[b, i]) for i in range(3)] for b in range(2)]
    of_targets = np.take_along_axis(logits, targets[..., None], -1)[..., 0]
    full = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
    np.testing.assert_allclose(sampled_softmax(of_targets, np.array(others)), full, rtol=1e-5)


def test_a_negative_of_score_minus_infinity_or_nearly_so_does_not_count():
    target, negatives = np.float32([0.5]), np.float32([[1.0, -0.5]])
    for nothing in (-np.inf, -1e9):
        more = np.append(negatives, [[np.float32(nothing)]], axis=1)
        for loss in (sampled_softmax, functools.partial(gbce, num_items=10, calibration=0)):
            share = 3 / 4 if loss is not sampled_softmax else 1  # the binary one is a mean over K + 1
            np.testing.assert_allclose(loss(target, more), share * loss(target, negatives), rtol=1e-6)


def test_huge_sampled_scores_stay_finite():
    for target, negative, expected in ((1e4, -1e4, 0), (-1e4, 1e4, 2e4)):
        np.testing.assert_allclose(sampled_softmax(np.float32([target]), np.float32([[negative]])), expected)
        loss = gbce(np.float32([target]), np.float32([[negative]]), 2)
        np.testing.assert_allclose(loss, expected / 2)


# ---- gbce ---------------------------------------------------------------------------------------


def gbce_loop(target_score, negative_scores, num_items, calibration):
    """Petrov and Macdonald 2023, eq. 9 and 10, with the sigmoids as they are written there."""
    num_negatives = len(negative_scores)
    rate = num_negatives / (num_items - 1)
    power = rate * (calibration * (1 - 1 / rate) + 1 / rate)
    loss = math.log((1 / (1 + math.exp(-target_score))) ** power)
    for score in negative_scores:
        loss += math.log(1 - 1 / (1 + math.exp(-score)))
    return -loss / (num_negatives + 1)


@pytest.mark.parametrize("calibration", [0, 0.3, 0.75, 1])
@pytest.mark.parametrize("num_items", [5, 6, 100, 10_000])
def test_gbce_equals_a_loop_of_its_formula(num_items, calibration):
    rng = np.random.default_rng(0)
    targets, negatives = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 4))
    expected = [
        [gbce_loop(targets[b, i], negatives[b, i], num_items, calibration) for i in range(3)]
        for b in range(2)
    ]
    loss = gbce(*float32(targets, negatives), num_items, calibration)
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, expected, rtol=1e-4)


def test_gbce_by_hand():
    # 2 negatives of 9: of sigmoid(0) = 1/2 each, the target's to the power 1 without, 2/9 with calibration.
    for calibration, power in ((0, 1), (1, 2 / 9)):
        loss = gbce(tf.zeros(1), tf.zeros((1, 2)), 10, calibration)
        np.testing.assert_allclose(loss, [(power + 2) / 3 * math.log(2)], rtol=1e-6)


def test_gbce_without_calibration_is_binary_cross_entropy():
    rng = np.random.default_rng(1)
    scores = rng.normal(size=(6, 5)).astype(np.float32)
    labels = np.eye(5, dtype=np.float32)[np.zeros(6, int)]
    plain = tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(labels, scores), axis=-1)
    np.testing.assert_allclose(gbce(scores[:, 0], scores[:, 1:], 1000, calibration=0), plain, rtol=1e-5)


@pytest.mark.parametrize("num_items", [1, 2, 5])
def test_gbce_of_more_negatives_than_items_needs_no_calibration(num_items):
    scores = np.random.default_rng(2).normal(size=(3, 8)).astype(np.float32)
    plain, calibrated = (gbce(scores[:, 0], scores[:, 1:], num_items, t) for t in (0, 1))
    np.testing.assert_allclose(calibrated, plain, rtol=1e-6)


# ---- bce and bpr --------------------------------------------------------------------------------


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_bce_weighs_the_target_like_all_its_negatives_together():
    target, negatives = 0.5, [1.0, -2.0, 0.25]
    for some in (negatives[:1], negatives):  # with one it is SASRec's
        expected = -math.log(sigmoid(target)) - sum(math.log(1 - sigmoid(n)) for n in some) / len(some)
        loss = bce(np.float32([target]), np.float32([some]))
        assert loss.dtype == tf.float32
        np.testing.assert_allclose(loss, [expected], rtol=1e-6)


def test_bpr_is_the_mean_over_the_pairs():
    target, negatives = 0.5, [1.0, -2.0, 0.25]
    expected = sum(-math.log(sigmoid(target - n)) for n in negatives) / 3
    loss = bpr(np.float32([target]), np.float32([negatives]))
    assert loss.dtype == tf.float32
    np.testing.assert_allclose(loss, [expected], rtol=1e-6)


@pytest.mark.parametrize("nothing", [-np.inf, -1e9])
def test_a_negative_that_does_not_count_adds_nothing_to_the_mean(nothing):
    target, negatives = np.float32([0.5]), np.float32([[1.0, nothing]])
    np.testing.assert_allclose(bce(target, negatives), [-math.log(sigmoid(0.5) * sigmoid(-1.0) ** 0.5)], 1e-6)
    np.testing.assert_allclose(bpr(target, negatives), [-math.log(sigmoid(-0.5)) / 2], rtol=1e-6)


# ---- bpr_max and top1_max -----------------------------------------------------------------------


def shares(negatives):
    weights = [math.exp(n) for n in negatives]
    return [w / sum(weights) for w in weights]


def bpr_max_loop(target, negatives, regularization=1.0):
    """Hidasi and Karatzoglou 2018, as it is written there."""
    pairs = list(zip(shares(negatives), negatives, strict=True))
    won = sum(share * sigmoid(target - n) for share, n in pairs)
    return -math.log(won) + regularization * sum(share * n**2 for share, n in pairs)


def top1_max_loop(target, negatives):
    pairs = zip(shares(negatives), negatives, strict=True)
    return sum(share * (sigmoid(n - target) + sigmoid(n**2)) for share, n in pairs)


max_losses = pytest.mark.parametrize(("loss", "loop"), [(bpr_max, bpr_max_loop), (top1_max, top1_max_loop)])


def test_max_losses_by_hand():
    # Scores 0: shares 1/2, each pair is won by 1/2, no penalty or one of sigmoid(0).
    target, negatives = tf.zeros(1), tf.zeros((1, 2))
    np.testing.assert_allclose(bpr_max(target, negatives), [math.log(2)], rtol=1e-6)
    np.testing.assert_allclose(top1_max(target, negatives), [1], rtol=1e-6)
    # Scores 0 and log 3: shares 1/4 and 3/4; the target, log 3, wins by 3/4 and 1/2.
    target, negatives = np.float32([math.log(3)]), np.float32([[0, math.log(3)]])
    expected = -math.log(9 / 16) + 2 * 3 / 4 * math.log(3) ** 2
    np.testing.assert_allclose(bpr_max(target, negatives, 2.0), [expected], rtol=1e-6)


@max_losses
def test_max_losses_equal_a_loop_of_their_formula(loss, loop):
    rng = np.random.default_rng(0)
    targets, negatives = rng.normal(size=(2, 3)), rng.normal(size=(2, 3, 4))
    expected = [[loop(targets[b, i], negatives[b, i]) for i in range(3)] for b in range(2)]
    found = loss(*float32(targets, negatives))
    assert found.dtype == tf.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@max_losses
@pytest.mark.parametrize("nothing", [-np.inf, -1e9])
def test_max_losses_leave_out_negatives_that_do_not_count(loss, loop, nothing):
    negatives = tf.constant([[nothing, 1.0, nothing, -0.5], [nothing] * 4], tf.float32)
    target = tf.constant([0.5, 0.5])
    with tf.GradientTape() as tape:
        tape.watch([target, negatives])
        found = loss(target, negatives)
    np.testing.assert_allclose(found, [loop(0.5, [1.0, -0.5]), 0], rtol=1e-6)
    to_target, to_negatives = (g.numpy() for g in tape.gradient(found, [target, negatives]))
    assert np.isfinite(to_target).all() and np.isfinite(to_negatives).all()
    assert to_target[1] == 0 and (to_negatives != 0).tolist() == [[False, True, False, True], [False] * 4]


@pytest.mark.parametrize("loss", [bce, bpr, bpr_max, top1_max])
@pytest.mark.parametrize(("target", "negative"), [(1e4, -1e4), (-1e4, 1e4), (1e4, 1e4), (-1e4, -1e4)])
def test_huge_scores_and_their_gradients_stay_finite(loss, target, negative):
    scores = tf.constant([target]), tf.constant([[negative, negative / 2]])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        found = loss(*scores)
    assert np.isfinite(found).all()
    assert all(np.isfinite(g).all() for g in tape.gradient(found, scores))


@max_losses
def test_gradients_flow_through_the_shares(loss, loop):
    negatives, step = tf.constant([[1.0, 0.0]]), 1e-4
    with tf.GradientTape() as tape:
        tape.watch(negatives)
        found = loss(tf.zeros(1), negatives)
    slopes = [
        (loop(0.0, [1 + first, second]) - loop(0.0, [1 - first, -second])) / (2 * step)
        for first, second in ((step, 0), (0, step))
    ]
    np.testing.assert_allclose(tape.gradient(found, negatives), [slopes], rtol=1e-4)
