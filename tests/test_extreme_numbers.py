"""Losses at the edge of floating point: known answers in float64, and gradients that stay finite."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.losses import gaussian_kl, info_nce, softmax_cross_entropy
from metasgcl_tf.sampled_losses import bce, bpr, bpr_max, gbce, sampled_softmax, top1_max

PRECISIONS = ["float16", "bfloat16", "float32"]
SIZES = [1e4, 1e30]


def value_and_gradients(loss, *inputs):
    """A loss and its gradients in the inputs, as float64."""
    inputs = [tf.convert_to_tensor(x) for x in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        found = loss(*inputs)
    gradients = tape.gradient(found, inputs)
    assert all(g.dtype == x.dtype for g, x in zip(gradients, inputs, strict=True))
    return [tf.cast(x, tf.float64).numpy() for x in (found, *gradients)]


def rounded(values, dtype="float32"):
    """Values as they are in a precision."""
    return tf.cast(tf.constant(values, tf.float64), dtype)


def float64(tensor):
    return tf.cast(tensor, tf.float64).numpy()


def softmax64(logits):
    exponentials = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


# ---- softmax over the catalogue -----------------------------------------------------------------


@pytest.fixture(params=[False, True], ids=["dynamic shapes", "static shapes"])
def cross_entropy(request):
    return functools.partial(softmax_cross_entropy, static_shapes=request.param)


def by_numpy(states, table, targets, weights):
    """The loss and both gradients in float64."""
    logits = states @ table[1:].T
    largest = logits.max(axis=1)
    logsumexp = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
    loss = np.sum(weights * (logsumexp - logits[np.arange(len(targets)), targets - 1]))
    errors = weights[:, None] * (softmax64(logits) - np.eye(len(table) - 1)[targets - 1])
    return loss, errors @ table[1:], np.concatenate([np.zeros((1, table.shape[1])), errors.T @ states])


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_cross_entropy_of_large_logits(cross_entropy, dtype):
    rng = np.random.default_rng(0)
    # Logits of some +-1e4, far apart and the same; the second target is the best item.
    states = rounded([[100.0, -100.0], [50.0, 0.0], [0.5, 0.25]], dtype)
    table = rounded(np.round(rng.uniform(-100, 100, (6, 2))), dtype)
    best = 1 + int(np.argmax(float64(table)[1:, 0]))
    targets, weights = np.array([1, best, 3]), np.array([1.0, 0.5, 2.0])

    def loss(states, table):
        return cross_entropy(states, table, targets, rounded(weights))[0]

    found = value_and_gradients(loss, states, table)
    expected = by_numpy(float64(states), float64(table), targets, weights)
    tolerance = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 1e-5}[dtype]
    for value, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(value, other, rtol=tolerance, atol=tolerance * np.abs(other).max())


@pytest.mark.parametrize("size", SIZES)
def test_cross_entropy_of_huge_logits_is_their_difference(cross_entropy, size):
    # Logits size, 0 and -size: probability 1 of the first item.
    table = rounded([[7.0], [size], [0.0], [-size]])

    def loss(states, table):
        return cross_entropy(states, table, np.array([1, 2, 3]), tf.ones(3))[0]

    value, d_states, d_table = value_and_gradients(loss, rounded(np.ones((3, 1))), table)
    np.testing.assert_allclose(value, 3 * size, rtol=1e-6)
    np.testing.assert_allclose(d_states, [[0.0], [size], [2 * size]], rtol=1e-6)
    np.testing.assert_array_equal(d_table, [[0.0], [2.0], [-1.0], [-1.0]])


def test_cross_entropy_of_large_logits_that_are_close(cross_entropy):
    # Logits 8192, 8192 and 8191: in float32, numbers that large are .001 apart.
    table, targets = tf.constant([[0.0], [8192.0], [8192.0], [8191.0]]), np.array([1, 2, 3])
    _, terms = cross_entropy(tf.ones((3, 1)), table, targets, tf.ones(3))
    both = np.log(2 + np.exp(-1))
    np.testing.assert_allclose(terms, [both, both, both + 1], rtol=1e-6)


def test_cross_entropy_of_nothing_but_padding(cross_entropy):
    # Whatever stands at padding, overflow included, counts for nothing.
    states = rounded([[np.inf, np.nan], [1e30, -1e30]])

    def loss(states, table):
        return cross_entropy(states, table, np.array([0, 0]), tf.ones(2))[0]

    for found in value_and_gradients(loss, states, rounded(np.full((4, 2), 1e30))):
        np.testing.assert_array_equal(found, np.zeros_like(found))


# ---- KL and contrast ----------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", PRECISIONS)
def test_kl_of_far_gaussians(dtype):
    mean, log_variance = (
        rounded([[100.0, -3.0], [0.0, 0.0]], dtype),
        rounded([[-80.0, 9.0], [0.0, 0.0]], dtype),
    )
    value, d_mean, d_log_variance = value_and_gradients(gaussian_kl, mean, log_variance)
    m, v = float64(mean), float64(log_variance)
    np.testing.assert_allclose(value, (0.5 * (m**2 + np.exp(v) - 1 - v)).sum(axis=1), rtol=1e-5)
    np.testing.assert_allclose(d_mean, m, rtol=1e-5)
    tolerance = {"float16": 1e-3, "bfloat16": 1e-2, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(d_log_variance, 0.5 * (np.exp(v) - 1), rtol=tolerance)


def info_nce_by_numpy(view, other, temperature):
    both = np.concatenate([view, other])
    logits = both @ both.T / temperature
    np.fill_diagonal(logits, -np.inf)
    size = len(view)
    positives = (np.arange(2 * size) + size) % (2 * size)
    largest = logits.max(axis=1)
    logsumexp = np.log(np.exp(logits - largest[:, None]).sum(axis=1)) + largest
    return np.mean(logsumexp - logits[np.arange(2 * size), positives])


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("size", [1.0, 1e2])
def test_contrast_of_large_similarities(dtype, temperature, size):
    rng = np.random.default_rng(1)
    view, other = (rounded(size * rng.uniform(-1, 1, (3, 4)), dtype) for _ in range(2))
    found = value_and_gradients(functools.partial(info_nce, temperature=temperature), view, other)
    expected = info_nce_by_numpy(float64(view), float64(other), temperature)
    np.testing.assert_allclose(found[0], expected, rtol=1e-4, atol=1e-5)
    assert dtype == "float16" or all(np.isfinite(x).all() for x in found)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("temperature", [0.01, 1.0])
@pytest.mark.parametrize("size", [0.0, 1e-30, 1.0, 1e4, 1e18])
def test_contrast_of_one_sequence_is_nothing(similarity, temperature, size):
    loss = functools.partial(info_nce, temperature=temperature, similarity=similarity)
    value, *gradients = value_and_gradients(loss, rounded([[size, size]]), rounded([[-size, -size]]))
    assert value == 0 and not np.any(gradients)


@pytest.mark.parametrize("size", [0.0, 1e-30, 1e4, 1e15])
def test_cosines_do_not_depend_on_lengths(size):
    view, other = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [0.0, 1.0]])
    loss = functools.partial(info_nce, temperature=0.5, similarity="cosine")
    found = value_and_gradients(loss, rounded(size * view), rounded(size * other))
    assert all(np.isfinite(x).all() for x in found)
    if size > 1:
        np.testing.assert_allclose(found[0], info_nce_by_numpy(view, other, 0.5), rtol=1e-5)


def test_no_similarity_is_below_that_of_a_sequence_with_itself_which_does_not_count():
    # The first sequence is opposite to all others, its other view included: -2e10, three times.
    view, other = np.array([[1e5, 1e5], [-1e5, -1e5]]), np.array([[-1e5, -1e5], [-1e5, -1e5]])
    found = value_and_gradients(info_nce, rounded(view), rounded(other))
    anchors = [np.log(3), np.log(2), 4e10 + np.log(2), np.log(2)]
    np.testing.assert_allclose(found[0], np.mean(anchors), rtol=1e-5)
    assert all(np.isfinite(x).all() for x in found)
    np.testing.assert_allclose(found[0], info_nce_by_numpy(view, other, 1.0), rtol=1e-5)


# ---- against sampled negatives ------------------------------------------------------------------

softplus = functools.partial(np.logaddexp, 0.0)


def bpr_max64(target, negatives):
    log_shares = negatives - negatives.max(axis=1, keepdims=True)
    log_shares -= np.log(np.exp(log_shares).sum(axis=1, keepdims=True))
    terms = log_shares - softplus(negatives - target[:, None])
    largest = terms.max(axis=1)
    ranking = -np.log(np.exp(terms - largest[:, None]).sum(axis=1)) - largest
    return ranking + (np.exp(log_shares) * negatives**2).sum(axis=1)


def top1_max64(target, negatives):
    def sigmoid(x):
        return np.exp(-softplus(-x))

    return (softmax64(negatives) * (sigmoid(negatives - target[:, None]) + sigmoid(negatives**2))).sum(axis=1)


def sampled_softmax64(target, negatives):
    scores = np.concatenate([target[:, None], negatives], axis=1)
    largest = scores.max(axis=1)
    return np.log(np.exp(scores - largest[:, None]).sum(axis=1)) + largest - target


SAMPLED = {
    "sampled_softmax": (sampled_softmax, sampled_softmax64),
    "bce": (bce, lambda t, n: softplus(-t) + softplus(n).mean(axis=1)),
    "gbce": (
        functools.partial(gbce, num_items=5, calibration=0.0),
        lambda t, n: (softplus(-t) + softplus(n).sum(axis=1)) / (n.shape[1] + 1),
    ),
    "bpr": (bpr, lambda t, n: softplus(n - t[:, None]).mean(axis=1)),
    "bpr_max": (bpr_max, bpr_max64),
    "top1_max": (top1_max, top1_max64),
}


@pytest.mark.parametrize("dtype", PRECISIONS)
@pytest.mark.parametrize("size", [1.0, 1e2, 1e4])
@pytest.mark.parametrize("name", SAMPLED)
def test_sampled_losses_of_large_scores(name, size, dtype):
    loss, by_hand = SAMPLED[name]
    targets = rounded(size * np.array([1.0, -1.0, 0.5, 0.0]), dtype)
    negatives = rounded(size * np.array([[1.0, 0.5], [1.0, -1.0], [-1.0, -0.5], [0.0, 0.25]]), dtype)
    found = value_and_gradients(loss, targets, negatives)
    np.testing.assert_allclose(found[0], by_hand(float64(targets), float64(negatives)), rtol=1e-5, atol=1e-6)
    assert all(np.isfinite(x).all() for x in found)


@pytest.mark.parametrize("name", SAMPLED)
@pytest.mark.parametrize(("target", "negative"), [(1e30, 1e30), (-1e30, 1e30), (1e30, -1e30), (-1e30, -1e30)])
def test_sampled_losses_of_huge_scores(name, target, negative):
    value, *gradients = value_and_gradients(
        SAMPLED[name][0], rounded([target]), rounded([[negative, negative]])
    )
    if name == "bpr_max" and negative > 0:  # its penalty is the square of the scores
        assert value == np.inf
        return
    assert np.isfinite(value).all() and all(np.isfinite(g).all() for g in gradients)
