"""The losses against their plain forms, closed forms and loops."""

import functools
import math
import re

import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf import losses
from metasgcl_tf.losses import gaussian_kl, info_nce, softmax_cross_entropy

# ---- softmax_cross_entropy ----------------------------------------------------------------------

BLOCK = 512  # positions scored together where the catalogue is small


@pytest.fixture(params=[False, True], ids=["dynamic shapes", "static shapes"])
def cross_entropy(request):
    return functools.partial(softmax_cross_entropy, static_shapes=request.param)


def plain_cross_entropy(states, table, targets, weights):
    logits = tf.einsum("...d,vd->...v", states, table[1:])
    terms = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets - 1, 0), logits)
    terms = tf.where(targets > 0, tf.cast(weights, terms.dtype) * terms, 0)
    return tf.reduce_sum(terms), terms


def loss_and_gradients(loss, states, table, targets, weights, minimise=lambda total, terms: total):
    """The sum, its terms and what minimising them does to states and table."""
    states, table = tf.constant(states), tf.constant(table)
    with tf.GradientTape() as tape:
        tape.watch([states, table])
        total, terms = loss(states, table, tf.constant(targets), tf.constant(weights))
        minimised = minimise(total, terms)
    gradients = tape.gradient(minimised, [states, table], unconnected_gradients="zero")
    return [total.numpy(), terms.numpy(), *(g.numpy() for g in gradients)]


def example(rng, targets):
    targets = np.asarray(targets, np.int32)
    states = rng.normal(size=(*targets.shape, 4))
    return states, rng.normal(size=(8, 4)), targets, rng.uniform(0.1, 2, targets.shape)


def float32(*arrays):
    return [x.astype(np.float32) for x in arrays]


def test_cross_entropy_by_hand(cross_entropy):
    # Logits 0 and log 3 of items 1 and 2: probabilities 1/4 and 3/4.
    table = np.array([[9.0], [0.0], [math.log(3)]], np.float32)
    total, terms = cross_entropy(tf.ones((1, 3, 1)), tf.constant(table), [[1, 2, 0]], [[1.0, 0.5, 7.0]])
    np.testing.assert_allclose(terms, [[math.log(4), 0.5 * math.log(4 / 3), 0]], rtol=1e-6)
    np.testing.assert_allclose(total, math.log(4) + 0.5 * math.log(4 / 3), rtol=1e-6)


@pytest.mark.parametrize(
    "targets",
    [
        pytest.param([1, 7, 3], id="first and last item"),
        pytest.param([[2, 2, 2], [2, 5, 2]], id="repeated targets"),
        pytest.param([[0, 0, 4], [0, 1, 1]], id="padding"),
        pytest.param([[[3], [0]], [[3], [6]]], id="three axes"),
    ],
)
def test_cross_entropy_and_both_gradients_equal_the_plain_form(cross_entropy, targets):
    states, table, targets, weights = example(np.random.default_rng(0), targets)
    ours = loss_and_gradients(cross_entropy, *float32(states, table), targets, weights)
    plain = loss_and_gradients(plain_cross_entropy, states, table, targets, weights)  # in float64
    for value, expected in zip(ours, plain, strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    assert np.any(plain[2]) and np.any(plain[3])


def many_positions(rng, counted, positions=1_200, num_items=40):
    """Targets in random places; of the others half are padding and half have weight 0."""
    states, table = rng.normal(size=(positions, 4)), rng.normal(size=(num_items + 1, 4))
    targets = rng.integers(1, num_items + 1, positions).astype(np.int32)
    weights = rng.uniform(0.1, 2, positions)
    places = rng.permutation(positions)
    targets[places[counted::2]] = 0
    weights[places[counted + 1 :: 2]] = 0
    assert np.count_nonzero(weights * targets) == counted
    return states, table, targets, weights


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("counted", [1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 1_100, 1_200])
def test_many_positions_go_block_by_block_to_the_same_loss_and_gradients(cross_entropy, counted, dtype):
    states, table, targets, weights = many_positions(np.random.default_rng(counted), counted)
    states, table = tf.cast(states, dtype), tf.cast(table, dtype)
    ours = loss_and_gradients(cross_entropy, states, table, targets, weights)
    plain = loss_and_gradients(
        plain_cross_entropy, *(tf.cast(x, tf.float64) for x in (states, table)), targets, weights
    )
    for value, expected in zip(ours[:2], plain[:2], strict=True):
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-6)
    precision = {"rtol": 0.01, "atol": 0.01} if dtype == "bfloat16" else {"rtol": 1e-4, "atol": 1e-5}
    for gradient, expected in zip(ours[2:], plain[2:], strict=True):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient.astype(np.float64), expected, **precision)
    assert not np.any(ours[2][targets * weights == 0])


def test_blocks_of_a_large_catalogue_are_smaller_and_give_the_same(cross_entropy, monkeypatch):
    rows_of_blocks, one_block = [], losses._block_cross_entropy

    def watched(states, *rest):
        rows_of_blocks.append(len(states))
        return one_block(states, *rest)

    monkeypatch.setattr(losses, "_block_cross_entropy", watched)
    rng = np.random.default_rng(5)
    num_items = 2**25 // 100  # 100 rows of scores are 128 MB
    states, table, targets, weights = many_positions(rng, 130, positions=150, num_items=num_items)
    states, table = states[:, :2], 0.1 * table[:, :2]
    ours = loss_and_gradients(cross_entropy, *float32(states, table), targets, weights)
    assert len(rows_of_blocks) == 2 and max(rows_of_blocks) in (99, 100)
    used = np.unique(np.append(targets, 0))  # float64 scores of all of them would take long
    scores = states @ table[1:].T
    terms = np.log(np.exp(scores).sum(1)) - (states * table[targets]).sum(1)
    terms = np.where(targets > 0, weights * terms, 0)
    np.testing.assert_allclose(ours[1], terms, rtol=1e-5, atol=1e-6)
    assert np.abs(ours[3][used]).max() > 1e-2 and not ours[3][0].any()


def test_padding_moves_nothing_whatever_it_holds(cross_entropy):
    states, table, targets, weights = example(np.random.default_rng(1), [[0, 0, 4], [0, 7, 1]])
    states, table, weights = float32(states, table, weights)
    clean = loss_and_gradients(cross_entropy, states, table, targets, weights)
    assert not clean[2][targets == 0].any() and not clean[3][0].any()
    table[0] = np.nan
    states[targets == 0] = 1e30
    weights[targets == 0] = -5.0
    for value, expected in zip(
        loss_and_gradients(cross_entropy, states, table, targets, weights), clean, strict=True
    ):
        np.testing.assert_array_equal(value, expected)


def test_without_any_weight_the_loss_is_0_and_moves_nothing(cross_entropy):
    states, table, some_targets, some_weights = example(np.random.default_rng(2), [1, 5, 0])
    for targets, weights in ((some_targets, np.zeros(3)), (np.zeros(3, np.int32), some_weights)):
        values = loss_and_gradients(cross_entropy, *float32(states, table), targets, weights)
        for value, shape in zip(values, [(), (3,), (3, 4), (8, 4)], strict=True):
            np.testing.assert_array_equal(value, np.zeros(shape))


def test_gradients_grow_with_what_multiplies_the_loss_and_none_comes_from_its_terms(cross_entropy):
    states, table, targets, weights = example(np.random.default_rng(4), [[3, 0], [6, 6]])
    found = functools.partial(
        loss_and_gradients, cross_entropy, *float32(states, table), targets, weights.astype(np.float32)
    )
    once = found()
    assert np.any(once[2]) and np.any(once[3])
    for minimise in (
        lambda total, terms: 3 * total,
        lambda total, terms: 3 * total + tf.reduce_sum(terms**2),
    ):
        for gradient, expected in zip(found(minimise=minimise)[2:], once[2:], strict=True):
            np.testing.assert_allclose(gradient, 3 * expected, rtol=1e-6)
    of_terms = found(minimise=lambda total, terms: tf.reduce_sum(terms))
    assert not of_terms[2].any() and not of_terms[3].any()


def test_no_gradient_flows_to_the_weights(cross_entropy):
    states, table, targets, weights = example(np.random.default_rng(4), [3, 6])
    states, table, weights = map(tf.constant, float32(states, table, weights))
    with tf.GradientTape() as tape:
        tape.watch([states, table, weights])
        total, _ = cross_entropy(states, table, targets, weights)
    d_states, d_weights = tape.gradient(total, [states, weights])
    assert d_weights is None and np.any(d_states)


def test_huge_logits_stay_finite(cross_entropy):
    states = np.array([[100.0], [100.0]], np.float32)
    table = np.array([[0.0], [100.0], [-100.0]], np.float32)
    total, terms, d_states, d_table = loss_and_gradients(cross_entropy, states, table, [1, 2], [1.0, 1.0])
    # Probabilities 1 and 0: nothing to gain at the first target, everything at the second.
    assert total == 20_000
    np.testing.assert_allclose(terms, [0, 20_000])
    np.testing.assert_allclose(d_states, [[0], [200]])
    np.testing.assert_allclose(d_table, [[0], [100], [-100]])


@pytest.mark.parametrize("newest", [3, 1])
def test_seen_items_are_raised_and_the_target_is_not(cross_entropy, newest):
    """Two views of two sequences; item 2 is there twice, and two targets were seen before."""
    rng = np.random.default_rng(8)
    seen = np.array([[0, 3, 2], [2, 7, 2]], np.int32)
    targets = np.array([[0, 2, 5], [7, 2, 7]], np.int32)
    before = [[{0}, {3}, {3, 2}], [{2}, {7}, {2}]]  # without padding and without the target
    margins = np.zeros((2, 3, 7), np.float32)
    for place in np.ndindex(2, 3):
        for item in before[place[0]][place[1]] - {0}:
            margins[place][item - 1] = 1.5
    targets, margins = np.tile(targets[:, -newest:], (2, 1)), np.tile(margins[:, -newest:], (2, 1, 1))
    states, table, targets, weights = example(rng, targets)
    states, table, weights = float32(states, table, weights)

    def plain(states, table, targets, weights):
        logits = tf.einsum("btd,vd->btv", states, table[1:]) + margins
        terms = tf.nn.sparse_softmax_cross_entropy_with_logits(tf.maximum(targets - 1, 0), logits)
        terms = tf.where(targets > 0, weights * terms, 0)
        return tf.reduce_sum(terms), terms

    raised = functools.partial(cross_entropy, seen=tf.constant(seen), seen_margin=1.5)
    expected = loss_and_gradients(plain, states, table, targets, weights)
    found = loss_and_gradients(raised, states, table, targets, weights)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_states_lose_only_their_own_rounding(cross_entropy, dtype):
    rng = np.random.default_rng(2)
    targets = rng.integers(1, 501, 20).astype(np.int32)
    states, table = (tf.cast(rng.normal(size=(n, 8)), dtype) for n in (20, 501))
    half = loss_and_gradients(cross_entropy, states, table, targets, np.ones(20))
    rounded = [tf.cast(x, tf.float64) for x in (states, table)]
    plain = loss_and_gradients(plain_cross_entropy, *rounded, targets, np.ones(20))
    for value, expected in zip(half[:2], plain[:2], strict=True):
        assert value.dtype == np.float32
        np.testing.assert_allclose(value, expected, rtol=1e-5)
    for gradient, expected in zip(half[2:], plain[2:], strict=True):
        assert gradient.dtype == dtype
        np.testing.assert_allclose(gradient.astype(np.float64), expected, rtol=0.01, atol=0.01)


def gradients_as_function(cross_entropy, table):
    def gradients(states, targets, weights):
        with tf.GradientTape() as tape:
            watched = [states, tf.constant(table)]
            tape.watch(watched)
            total, terms = cross_entropy(*watched, targets, weights)
            minimised = 2 * total
        return total, terms, *tape.gradient(minimised, watched)

    return gradients


def test_one_graph_serves_every_batch_size(cross_entropy):
    rng = np.random.default_rng(3)
    _, table, *_ = many_positions(rng, 1)
    unknown = [
        tf.TensorSpec([None, None, 4]),
        tf.TensorSpec([None, None], tf.int32),
        tf.TensorSpec([None, None]),
    ]
    found = tf.function(gradients_as_function(cross_entropy, table.astype(np.float32)), unknown)
    for batch, length, counted in ((2, 3, 4), (100, 12, 600), (1, 1, 0)):
        states, _, targets, weights = many_positions(rng, counted, batch * length)
        states = states.reshape(batch, length, 4)
        targets, weights = targets.reshape(batch, length), weights.reshape(batch, length)
        plain = gradients_as_function(plain_cross_entropy, table)(
            tf.constant(states), tf.constant(targets), tf.constant(weights)
        )
        for value, expected in zip(found(*float32(states), targets, *float32(weights)), plain, strict=True):
            np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)


def xla_gradients(loss, table):
    return tf.function(gradients_as_function(loss, table), jit_compile=True)


def test_it_compiles_with_xla_where_shapes_are_static():
    batches = [many_positions(np.random.default_rng(6), counted) for counted in (0, 600, 1_200)]
    table = batches[0][1]
    static = functools.partial(softmax_cross_entropy, static_shapes=True)
    compiled = xla_gradients(static, *float32(table))  # once for all of them
    for states, _, targets, weights in batches:
        found = compiled(*map(tf.constant, (*float32(states), targets, *float32(weights))))
        expected = gradients_as_function(plain_cross_entropy, table)(
            *map(tf.constant, (states, targets, weights))
        )
        for value, plain in zip(found, expected, strict=True):
            np.testing.assert_allclose(value, plain, rtol=1e-4, atol=1e-5)
    assert compiled.experimental_get_tracing_count() == 1


def test_nothing_compiled_holds_a_score_of_every_position_for_every_item():
    positions, num_items = 1200, 500
    states, table, targets, weights = many_positions(np.random.default_rng(7), 900, positions, num_items)

    def largest_tensor(loss):
        function = xla_gradients(loss, *float32(table))
        arguments = map(tf.constant, (*float32(states), targets, *float32(weights)))
        program = function.experimental_get_compiler_ir(*arguments)(stage="hlo")
        shapes = re.findall(r"\b(?:f32|s32|u32|pred)\[([\d,]+)\]", program)
        return max(math.prod(map(int, shape.split(","))) for shape in shapes)

    assert largest_tensor(plain_cross_entropy) >= positions * num_items
    static = functools.partial(softmax_cross_entropy, static_shapes=True)
    assert largest_tensor(static) == BLOCK * num_items


@pytest.mark.parametrize("counted", [0, 10, 1_030])
def test_positions_without_a_target_or_a_weight_are_never_scored(counted, monkeypatch):
    scored, one_block = [], losses._block_cross_entropy

    def watched(states, *rest):
        scored.append(len(states))
        return one_block(states, *rest)

    monkeypatch.setattr(losses, "_block_cross_entropy", watched)
    states, table, targets, weights = many_positions(np.random.default_rng(8), counted)
    loss_and_gradients(softmax_cross_entropy, *float32(states, table), targets, weights)
    assert sum(scored) == counted and all(rows <= BLOCK for rows in scored)


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


# ---- Gaussian dropout ---------------------------------------------------------------------------


def test_dropout_kl_is_that_of_the_noise_from_a_log_uniform_prior():
    # -log(alpha) / 2 + E log|1 + sqrt(alpha) n|, up to a constant; the mean over quantiles of a normal n.
    normal = np.sort(np.random.default_rng(0).normal(size=400_001))

    def exact(alpha):
        return np.log(np.abs(1 + np.sqrt(alpha) * normal)).mean() - 0.5 * np.log(alpha)

    for alpha in (0.05, 0.2, 0.5, 0.8):
        found = float(losses.dropout_kl(alpha)) - float(losses.dropout_kl(1.0))
        assert found == pytest.approx(exact(alpha) - exact(1.0), abs=0.02)
