"""The losses against their plain forms, closed forms and loops."""

import math

import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.losses import gaussian_kl, info_nce, softmax_cross_entropy

# ---- softmax_cross_entropy ----------------------------------------------------------------------


def plain_cross_entropy(states, table, targets):
    logits = tf.einsum("...d,vd->...v", states, table)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets - 1, 0), logits)


def loss_and_gradients(loss, states, table, targets, weights):
    states, table = tf.constant(states), tf.constant(table)
    with tf.GradientTape() as tape:
        tape.watch([states, table])
        values = loss(states, table, tf.constant(targets))
        total = tf.reduce_sum(tf.cast(weights, values.dtype) * values)
    return [values.numpy(), *(g.numpy() for g in tape.gradient(total, [states, table]))]


def example(rng, targets):
    targets = np.asarray(targets, np.int32)
    states = rng.normal(size=(*targets.shape, 4))
    return states, rng.normal(size=(7, 4)), targets, rng.uniform(0.1, 2, targets.shape) * (targets > 0)


def test_cross_entropy_by_hand():
    # Logits 0 and log 3: probabilities 1/4 and 3/4.
    table = np.array([[0.0], [math.log(3)]], np.float32)
    loss = softmax_cross_entropy(tf.ones((1, 2, 1)), tf.constant(table), tf.constant([[1, 2]]))
    np.testing.assert_allclose(loss, [[math.log(4), math.log(4 / 3)]], rtol=1e-6)


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([1, 7, 3], id="first and last item"),
        pytest.param([[2, 2, 2], [2, 5, 2]], id="repeated targets"),
        pytest.param([[0, 0, 4], [0, 1, 1]], id="padding of weight 0"),
    ],
)
def test_cross_entropy_and_both_gradients_equal_the_plain_form(targets):
    states, table, targets, weights = example(np.random.default_rng(0), targets)
    ours = loss_and_gradients(
        softmax_cross_entropy, states.astype(np.float32), table.astype(np.float32), targets, weights
    )
    plain = loss_and_gradients(plain_cross_entropy, states, table, targets, weights)  # in float64
    for value, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert np.any(plain[1]) and np.any(plain[2])


def test_a_padding_target_of_weight_0_moves_nothing():
    states, table, _, _ = example(np.random.default_rng(1), [0, 0])
    _, d_states, d_table = loss_and_gradients(softmax_cross_entropy, states, table, [0, 0], [0.0, 0.0])
    assert not d_states.any() and not d_table.any()


def test_huge_logits_stay_finite():
    states, table = np.array([[100.0], [100.0]], np.float32), np.array([[100.0], [-100.0]], np.float32)
    loss, d_states, d_table = loss_and_gradients(softmax_cross_entropy, states, table, [1, 2], [1.0, 1.0])
    # Probabilities 1 and 0: nothing to gain at the first target, everything at the second.
    np.testing.assert_allclose(loss, [0, 20_000])
    np.testing.assert_allclose(d_states, [[0], [200]])
    np.testing.assert_allclose(d_table, [[100], [-100]])


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_states_lose_only_their_own_rounding(dtype):
    rng = np.random.default_rng(2)
    targets = rng.integers(1, 501, 20).astype(np.int32)
    states, table = (tf.cast(rng.normal(size=(n, 8)), dtype) for n in (20, 500))
    half = loss_and_gradients(softmax_cross_entropy, states, table, targets, np.ones(20))
    rounded = [tf.cast(x, tf.float64) for x in (states, table)]
    plain = loss_and_gradients(plain_cross_entropy, *rounded, targets, np.ones(20))
    np.testing.assert_allclose(half[0], plain[0], rtol=1e-5)
    for gradient, expected in zip(half[1:], plain[1:], strict=True):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient.astype(np.float64), expected, rtol=0.01, atol=0.01)


def test_cross_entropy_gradients_hold_in_a_graph_of_unknown_batch_size():
    states, table, targets, weights = example(np.random.default_rng(3), [[3, 0], [6, 6]])
    states, table, weights = (x.astype(np.float32) for x in (states, table, weights))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 4]), tf.TensorSpec([None, None], tf.int32)])
    def gradient(states, targets):
        with tf.GradientTape() as tape:
            tape.watch(states)
            total = tf.reduce_sum(weights * softmax_cross_entropy(states, tf.constant(table), targets))
        return tape.gradient(total, states)

    expected = loss_and_gradients(plain_cross_entropy, states, table, targets, weights)[1]
    np.testing.assert_allclose(gradient(states, targets), expected, rtol=1e-4, atol=1e-6)


# ---- gaussian_kl --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mean", "variance", "expected"),
    [
        ([0, 0, 0], [1, 1, 1], 0.0),
        ([1, 2], [1, 1], 2.5),  # (1 + 4) / 2
        ([0], [4], 1.5 - math.log(2)),  # (4 - 1 - log 4) / 2
        ([1, 0], [1, 4], 2.0 - math.log(2)),
    ],
)
def test_kl_by_hand(mean, variance, expected):
    value = gaussian_kl(np.array(mean, np.float32), np.log(np.array(variance, np.float32)))
    np.testing.assert_allclose(value, expected, rtol=1e-6)


def test_kl_equals_its_integral():
    mean, variance = 0.7, 0.3
    x = np.linspace(-12, 12, 200_001)
    log_p = -0.5 * ((x - mean) ** 2 / variance + np.log(2 * np.pi * variance))
    log_q = -0.5 * (x**2 + np.log(2 * np.pi))
    integral = np.trapezoid(np.exp(log_p) * (log_p - log_q), x)
    np.testing.assert_allclose(gaussian_kl([[mean]], [[np.log(variance)]]), [integral], rtol=1e-5)


def test_kl_sums_over_the_last_axis_only():
    assert gaussian_kl(tf.ones((2, 3, 4)), tf.zeros((2, 3, 4))).numpy().tolist() == [[2.0] * 3] * 2


# ---- info_nce -----------------------------------------------------------------------------------


def info_nce_loop(view, other_view, temperature, similarity):
    both = [np.asarray(row, np.float64) for row in (*view, *other_view)]
    if similarity == "cosine":
        both = [row / np.linalg.norm(row) for row in both]
    batch_size, terms = len(view), []
    for anchor in range(2 * batch_size):
        sequence, positive = anchor % batch_size, (anchor + batch_size) % (2 * batch_size)
        negatives = [n for n in range(2 * batch_size) if n % batch_size != sequence]
        assert len(negatives) == 2 * (batch_size - 1)
        logits = np.array([both[anchor] @ both[n] / temperature for n in (positive, *negatives)])
        terms.append(np.logaddexp.reduce(logits) - logits[0])
    return np.mean(terms)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_info_nce_equals_a_loop_over_the_negatives(similarity, temperature):
    view, other_view = np.random.default_rng(0).normal(size=(2, 5, 3)).astype(np.float32)
    np.testing.assert_allclose(
        info_nce(view, other_view, temperature, similarity),
        info_nce_loop(view, other_view, temperature, similarity),
        rtol=1e-5,
    )


def test_info_nce_by_hand():
    # Equal views of two orthogonal sequences: similarity 1 to the positive, 0 to both negatives.
    loss = info_nce(tf.eye(2), tf.eye(2), temperature=0.5)
    np.testing.assert_allclose(loss, math.log(1 + 2 * math.exp(-2)), rtol=1e-6)


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_info_nce_of_a_single_sequence_is_0(similarity):
    view, other_view = np.array([[[1.0, 2.0]], [[-3.0, 0.5]]], np.float32)
    assert float(info_nce(view, other_view, similarity=similarity)) == 0.0


def test_info_nce_does_not_care_which_view_is_which():
    view, other_view = np.random.default_rng(1).normal(size=(2, 6, 4)).astype(np.float32)
    np.testing.assert_allclose(info_nce(view, other_view), info_nce(other_view, view), rtol=1e-6)


def test_cosine_ignores_the_length_of_a_vector_and_dot_does_not():
    view, other_view = np.random.default_rng(2).normal(size=(2, 4, 3)).astype(np.float32)
    cosine, longer = (info_nce(view * scale, other_view, similarity="cosine") for scale in (1, 7))
    np.testing.assert_allclose(cosine, longer, rtol=1e-5)
    assert abs(float(info_nce(view * 7, other_view) - info_nce(view, other_view))) > 0.01


@pytest.mark.parametrize("similarity", ["dot", "cosine"])
def test_info_nce_at_an_extreme_temperature_is_finite_and_so_is_its_gradient(similarity):
    view, other_view = tf.random.stateless_normal((2, 4, 8), (0, 1)) * 10
    with tf.GradientTape() as tape:
        tape.watch(view)
        loss = info_nce(view, other_view, 0.01, similarity)
    np.testing.assert_allclose(loss, info_nce_loop(view, other_view, 0.01, similarity), rtol=1e-4)
    assert np.isfinite(tape.gradient(loss, view)).all()


def test_cosine_of_a_zero_vector_has_a_finite_gradient():
    view = tf.zeros((3, 4))
    with tf.GradientTape() as tape:
        tape.watch(view)
        loss = info_nce(view, tf.eye(3, 4), similarity="cosine")
    assert np.isfinite(loss) and np.isfinite(tape.gradient(loss, view)).all()
