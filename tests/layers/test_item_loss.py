"""How negatives are drawn, and that what is learned from them is what the whole catalogue would teach."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf import sampled_losses
from metasgcl_tf.layers.embedding import ItemEmbedding
from metasgcl_tf.layers.item_loss import LOSSES, SAMPLED, ItemLoss

SHARES = 2**30
SAMPLINGS = ("popularity", "log_uniform", "uniform")
every_sampling = pytest.mark.parametrize("sampling", SAMPLINGS)
COUNTS = np.array([0, 5, 0, 9, 2])  # of padding and items 1 to 4
PROBABILITIES = {
    "popularity": np.array([6, 1, 10, 3]) / 20,
    "log_uniform": np.log([3 / 2, 5 / 4, 2, 4 / 3]) / np.log(5),  # ranks 2, 4, 1, 3
    "uniform": np.full(4, 0.25),
}


def sampled(sampling, counts=COUNTS, num_negatives=20_000, loss="sampled_softmax"):
    keras.utils.set_random_seed(0)
    layer = ItemLoss(len(counts) - 1, loss, num_negatives, sampling)
    layer.adapt(np.asarray(counts))
    return layer


def embedding_of(table):
    num_rows, hidden_dim = table.shape
    embedding = ItemEmbedding(num_rows - 1, hidden_dim, max_length=4)
    embedding.build((None, 4))
    embedding.table.assign(table)
    return embedding


def catalogue(num_items=50, positions=40):
    """States, their targets, a table, and counts that have nothing to do with the scores."""
    rng = np.random.default_rng(0)
    states = rng.normal(size=(positions, 8)).astype(np.float32)
    targets = rng.integers(1, num_items + 1, positions).astype(np.int32)
    counts = np.append(0, rng.permutation(1000 // np.arange(1, num_items + 1)))
    return states, targets, embedding_of(0.5 * rng.normal(size=(num_items + 1, 8))), counts


# ---- the negatives ------------------------------------------------------------------------------


@every_sampling
def test_items_are_drawn_as_often_as_they_should(sampling):
    drawn = np.concatenate([sampled(sampling).draw() for _ in range(3)])
    assert drawn.dtype == np.int32 and drawn.min() == 1 and drawn.max() == 4
    spread = np.sqrt(PROBABILITIES[sampling] * (1 - PROBABILITIES[sampling]) / 20_000)
    frequencies = np.bincount(drawn, minlength=5)[1:] / len(drawn)
    np.testing.assert_array_less(np.abs(frequencies - PROBABILITIES[sampling]), 4 * spread)


def test_every_batch_has_other_negatives():
    layer = sampled("uniform", np.zeros(1001), num_negatives=50)
    one, other = layer.draw(), layer.draw()
    assert np.any(one != other)


@every_sampling
def test_each_of_many_targets_can_have_negatives_of_its_own(sampling):
    drawn = sampled(sampling, num_negatives=2).draw((100, 50)).numpy()
    assert drawn.shape == (100, 50, 2) and drawn.dtype == np.int32
    spread = np.sqrt(PROBABILITIES[sampling] * (1 - PROBABILITIES[sampling]) / 5_000)
    for place in (drawn[..., 0], drawn[..., 1]):
        frequencies = np.bincount(place.ravel(), minlength=5)[1:] / place.size
        np.testing.assert_array_less(np.abs(frequencies - PROBABILITIES[sampling]), 4 * spread)


def test_binary_cross_entropy_meets_each_target_with_negatives_of_its_own():
    """One negative a target, whose scores tell which it was; with one set a batch all would be alike."""
    keras.utils.set_random_seed(0)
    layer, embedding = ItemLoss(6, "bce", 1), embedding_of(np.arange(7)[:, None])
    targets = np.full((20, 5), 6, np.int32)
    _, terms = layer(np.ones((20, 5, 1)), targets, np.ones((20, 5), np.float32), embedding=embedding)
    expected = {round(float(softplus(-6) + (softplus(n) if n < 6 else 0)), 4) for n in range(1, 7)}
    assert set(terms.numpy().ravel().round(4).astype(float).round(4)) == expected


@every_sampling
def test_expected_counts_are_number_times_probability(sampling):
    layer = sampled(sampling, num_negatives=7)
    expected = np.log(7 * PROBABILITIES[sampling])
    np.testing.assert_allclose(layer.log_expected_count(np.array([1, 2, 3, 4])), expected, rtol=1e-5)
    np.testing.assert_allclose(
        layer.log_expected_count(np.array([[4, 1], [1, 1]])), expected[[[3, 0], [0, 0]]], rtol=1e-5
    )
    assert np.isfinite(layer.log_expected_count(np.array([0])))  # padding is asked for too


@pytest.mark.parametrize(
    ("loss", "sampling", "expected"),
    [
        ("gbce", None, "uniform"),
        ("bce", None, "uniform"),
        ("bpr_max", None, "popularity"),
        ("top1_max", None, "popularity"),
        ("sampled_softmax", None, "popularity"),
        ("gbce", "popularity", "popularity"),
    ],
)
def test_how_negatives_are_drawn_depends_on_the_loss_unless_said(loss, sampling, expected):
    layer = sampled(sampling, num_negatives=1, loss=loss)
    counts = np.exp(layer.log_expected_count(np.array([1, 2, 3, 4])))
    np.testing.assert_allclose(counts, PROBABILITIES[expected], rtol=1e-5)


def test_before_it_is_adapted_every_item_is_as_likely():
    layer = ItemLoss(4, "sampled_softmax", 8)
    np.testing.assert_allclose(np.exp(layer.log_expected_count(np.array([1, 2, 3, 4]))), [2, 2, 2, 2], 1e-6)


@every_sampling
@pytest.mark.parametrize("num_items", [1, 2, 16, 19, 399, 1000, 12_000])
def test_the_shares_of_all_items_add_up_and_none_is_empty(sampling, num_items):
    counts = np.append(0, np.random.default_rng(num_items).integers(0, 50, num_items))
    shares = np.diff(sampled(sampling, counts, 1).cumulative.numpy(), prepend=0)
    assert shares.min() >= 1 and shares.sum() == SHARES


@every_sampling
@pytest.mark.parametrize("num_items", [1, 2, 16, 1000])
def test_no_draw_ever_leaves_the_catalogue(sampling, num_items, monkeypatch):
    layer = sampled(sampling, np.append(0, np.arange(num_items)), 2)
    ends = tf.constant([0, SHARES - 1])  # the least and the greatest random number
    monkeypatch.setattr(keras.random, "randint", lambda *args, **kwargs: ends)
    assert layer.draw().numpy().tolist() == [1, num_items]


def test_an_item_next_to_which_all_others_are_nothing_leaves_them_a_chance():
    layer = sampled("popularity", [0, 0, 10**15, 0], 1)
    one, other, third = np.exp(layer.log_expected_count(np.array([1, 2, 3])))
    assert other == 1 and 0 < one < 3 / SHARES and 0 < third < 3 / SHARES


# ---- the losses ---------------------------------------------------------------------------------


def full_softmax(states, targets, embedding):
    logits = tf.matmul(states, embedding.table.value[1:], transpose_b=True)
    return tf.nn.sparse_softmax_cross_entropy_with_logits(targets - 1, logits)


@every_sampling
def test_many_corrected_negatives_estimate_the_softmax_over_the_catalogue(sampling):
    states, targets, embedding, counts = catalogue()
    layer = sampled(sampling, counts)
    total, terms = layer(states, targets, np.ones(len(targets), np.float32), embedding=embedding)
    full = full_softmax(states, targets, embedding)
    np.testing.assert_allclose(terms, full, rtol=0.05, atol=0.02)
    np.testing.assert_allclose(total, tf.reduce_sum(full), rtol=0.01)

    # Without the correction they would not: it is what the test is about.
    drawn = sampled(sampling, counts).draw().numpy()
    table = embedding.table.numpy()
    negatives = np.where(drawn == targets[:, None], -1e9, states @ table[drawn].T)
    uncorrected = sampled_losses.sampled_softmax(
        (states * table[targets]).sum(1), negatives.astype(np.float32)
    )
    assert abs(np.sum(uncorrected) / np.sum(full) - 1) > 0.1


@every_sampling
def test_the_gradient_is_that_of_the_softmax_over_the_catalogue(sampling):
    _, targets, embedding, counts = catalogue(positions=5)
    layer = sampled(sampling, counts)
    states = tf.gather(embedding.table.value, targets)  # so that the targets are probable
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(states)
        total, _ = layer(states, targets, np.ones(5, np.float32), embedding=embedding)
        full = tf.reduce_sum(full_softmax(states, targets, embedding))
    for source in (states, embedding.table.value):
        found = tf.convert_to_tensor(tape.gradient(total, source)).numpy()
        expected = tf.convert_to_tensor(tape.gradient(full, source)).numpy()
        assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax"])
def test_what_minimises_it_are_the_probabilities_of_the_next_item(loss):
    """One state with several next items: its scores end as the logarithms of how often each came."""
    targets = np.repeat([1, 2, 3, 4], [50, 5, 30, 15]).astype(np.int32)
    layer = sampled("popularity", [0, 90, 5, 1, 4], num_negatives=500, loss=loss)
    embedding = embedding_of(np.zeros((5, 1)))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.1, 200))
    optimizer.build([embedding.table])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            total, _ = layer(tf.ones((100, 1)), targets, tf.fill([100], 0.01), embedding=embedding)
        optimizer.apply(tape.gradient(total, [embedding.table.value]), [embedding.table])

    for _ in range(200):
        step()
    probabilities = tf.nn.softmax(embedding.table.numpy()[1:, 0])
    np.testing.assert_allclose(probabilities, [0.5, 0.05, 0.3, 0.15], atol=0.02)


# ---- target by target ---------------------------------------------------------------------------

NEGATIVES = [4, 5, 5]
TABLE = np.random.default_rng(3).normal(size=(7, 2)).astype(np.float32)
STATES = np.random.default_rng(4).normal(size=(2, 3, 2)).astype(np.float32)
TARGETS = np.array([[4, 2, 5], [0, 0, 4]], np.int32)
WEIGHTS = np.array([[1.0, 0.5, 2.0], [7.0, 0.0, 3.0]], np.float32)


def with_negatives(loss):
    """6 items, of which 3 negatives are drawn uniformly: it is known which."""
    layer = sampled("uniform", np.zeros(7), len(NEGATIVES), loss)
    # Of `bce` each target has its own: here all of them the same.
    layer.draw = lambda shape=(): tf.broadcast_to(NEGATIVES, (*shape, len(NEGATIVES)))
    return layer


def softplus(x):
    return np.log1p(np.exp(x))


def max_loss_by_hand(loss, score, negatives):
    shares = np.exp(negatives) / np.exp(negatives).sum()
    wins, squares = 1 / (1 + np.exp(negatives - score)), negatives**2
    if loss == "bpr_max":
        return -np.log(shares @ wins) + shares @ squares
    return shares @ (1 - wins + 1 / (1 + np.exp(-squares)))


def by_hand(loss, state, target):
    """Over the negatives one by one; one that is the target does not count."""
    score = TABLE[target] @ state
    negatives = [TABLE[item] @ state for item in NEGATIVES if item != target]
    if loss == "sampled_softmax":  # each stands for as many items as are expected among 3 of 6: a half
        return np.log(np.exp(score) + sum(np.exp(negative) / (3 / 6) for negative in negatives)) - score
    if loss == "bce":
        return softplus(-score) + sum(softplus(negative) for negative in negatives) / 3
    if loss.endswith("_max"):
        return max_loss_by_hand(loss, score, np.array(negatives))
    rate = 3 / 5
    power = rate * (0.75 * (1 - 1 / rate) + 1 / rate)
    return (power * softplus(-score) + sum(softplus(negative) for negative in negatives)) / 4


every_sampled_loss = pytest.mark.parametrize("loss", SAMPLED)


@every_sampled_loss
def test_each_target_meets_every_negative_but_itself(loss):
    expected = np.zeros((2, 3))
    for at in np.argwhere(TARGETS):
        at = tuple(at)
        expected[at] = WEIGHTS[at] * by_hand(loss, STATES[at], TARGETS[at])
    total, terms = with_negatives(loss)(STATES, TARGETS, WEIGHTS, embedding=embedding_of(TABLE))
    np.testing.assert_allclose(terms, expected, rtol=1e-5)
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-5)
    assert total.dtype == terms.dtype == tf.float32


def layer_of(loss):
    return ItemLoss(6) if loss == "softmax" else with_negatives(loss)


every_loss = pytest.mark.parametrize("loss", LOSSES)


@every_loss
def test_places_without_a_target_do_not_count_whatever_their_weight(loss):
    layer, embedding, states = layer_of(loss), embedding_of(TABLE), tf.constant(STATES)
    with tf.GradientTape() as tape:
        tape.watch(states)
        total, terms = layer(states, TARGETS, WEIGHTS, embedding=embedding)
    gradient = tape.gradient(total, states).numpy()
    assert not gradient[TARGETS == 0].any() and gradient[TARGETS > 0].all()
    assert not terms.numpy()[TARGETS == 0].any() and terms.numpy()[TARGETS > 0].all()
    other = np.where(TARGETS == 0, 100, WEIGHTS).astype(np.float32)
    np.testing.assert_array_equal(layer(states, TARGETS, other, embedding=embedding)[0], total)


@every_loss
def test_the_reported_terms_carry_no_gradient(loss):
    states = tf.constant(STATES)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(states)
        total, terms = layer_of(loss)(states, TARGETS, WEIGHTS, embedding=embedding_of(TABLE))
    assert tape.gradient(terms, states) is None or not np.any(tape.gradient(terms, states))
    assert np.any(tape.gradient(total, states))


@every_loss
def test_weights_keep_their_precision_beside_half_precision_states(loss):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer, embedding = layer_of(loss), embedding_of(TABLE)
    finally:
        keras.config.set_dtype_policy("float32")
    states = tf.cast(STATES, tf.bfloat16)
    one, third = (
        layer(states, TARGETS, np.full((2, 3), weight, np.float32), embedding=embedding)[1]
        for weight in (1.0, 1 / 3)
    )
    np.testing.assert_allclose(third, one / 3, rtol=1e-5)


@every_sampled_loss
def test_only_rows_of_targets_and_negatives_get_a_gradient(loss):
    embedding = embedding_of(TABLE)
    with tf.GradientTape() as tape:
        total, _ = with_negatives(loss)(STATES, TARGETS, WEIGHTS, embedding=embedding)
    gradient = tape.gradient(total, embedding.table.value)
    assert isinstance(gradient, tf.IndexedSlices)  # what a row-wise optimizer lives on
    dense = tf.convert_to_tensor(gradient).numpy()
    assert np.flatnonzero(dense.any(axis=1)).tolist() == [2, 4, 5]


# ---- later items as targets ---------------------------------------------------------------------


def of_all_that_follow(states, targets, weights, table, decay):
    """The loss by its definition: every later target's cross-entropy, weighted by its share."""
    logits = states @ table[1:].T
    log_probs = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    loss = 0.0
    for row, position in zip(*np.nonzero(targets), strict=True):
        later = [s for s in range(position, targets.shape[1]) if targets[row, s]]
        shares = np.array([decay ** (s - position) for s in later])
        found = [-log_probs[row, position, targets[row, s] - 1] for s in later]
        loss += weights[row, position] * np.dot(shares, found) / shares.sum()
    return loss


def test_later_items_share_in_the_target():
    rng = np.random.default_rng(3)
    states, table = rng.normal(size=(2, 4, 3)), rng.normal(size=(7, 3))
    targets = np.array([[0, 2, 5, 1], [0, 0, 6, 3]], np.int32)
    weights = rng.uniform(0.5, 2, size=(2, 4)).astype(np.float32)
    layer, embedding = ItemLoss(6, target_decay=0.6), embedding_of(table)
    loss, terms = layer(states.astype(np.float32), targets, weights, embedding=embedding)
    assert float(loss) == pytest.approx(of_all_that_follow(states, targets, weights, table, 0.6), rel=1e-5)
    np.testing.assert_allclose(np.sum(terms), loss, rtol=1e-5)
    assert (np.asarray(terms)[targets == 0] == 0).all()


def test_the_gradients_are_those_of_the_loss_with_later_items():
    rng = np.random.default_rng(4)
    states, table, weights = rng.normal(size=(1, 3, 2)), rng.normal(size=(5, 2)), np.ones((1, 3), np.float32)
    targets = np.array([[4, 1, 2]], np.int32)
    layer, embedding = ItemLoss(4, target_decay=0.5), embedding_of(table)
    tensor = tf.constant(states, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        loss, _ = layer(tensor, targets, weights, embedding=embedding)
    of_states, of_table = map(tf.convert_to_tensor, tape.gradient(loss, [tensor, embedding.table.value]))
    step = 1e-6
    for array, found in ((states, of_states), (table, of_table)):
        for place in np.ndindex(array.shape):
            array[place] += step
            above = of_all_that_follow(states, targets, weights, table, 0.5)
            array[place] -= 2 * step
            below = of_all_that_follow(states, targets, weights, table, 0.5)
            array[place] += step
            assert float(found[place]) == pytest.approx((above - below) / (2 * step), abs=1e-4)
