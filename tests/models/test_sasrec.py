"""The loss of SASRec by hand, and what its states know."""

import keras
import numpy as np
import pytest

from metasgcl_tf.models import SASRec

NUM_ITEMS, LENGTH, DIM = 7, 4, 4
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
Y = np.array([[0, 0, 2, 3], [0, 4, 5, 1], [0, 0, 0, 1]], np.int32)  # the third row: only its last counts


def build(**options):
    """Weights as after some training: at the start all states are nearly the same."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
    model = SASRec(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return model


def states_of(model, item_ids):
    return model({"item_ids": np.asarray(item_ids, np.int32)})["states"].numpy()


def loss_by_hand(model, y, weights):
    """The negative log-probability of each target, one by one."""
    table = model.embedding.table.numpy()[1:].astype(np.float64)
    states, total = states_of(model, X), 0.0
    for row, place in np.argwhere(y):
        logits = table @ states[row, place - y.shape[1]]
        log_probability = logits[y[row, place] - 1] - np.log(np.exp(logits).sum())
        total -= weights[row, place] * log_probability
    return total


@pytest.mark.parametrize("newest", [LENGTH, 1], ids=["all positions", "newest position"])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_the_weighted_sum_over_targets_or_their_mean(newest, weighted):
    model, y = build(), Y[:, -newest:]
    # Weights where there is no target must not count.
    given = np.random.default_rng(2).uniform(0.5, 2, y.shape).astype(np.float32) if weighted else None
    outputs = model({"item_ids": X}, training=True)
    loss = float(model.compute_loss({"item_ids": X}, y, outputs, given))
    weights = given if weighted else np.full(y.shape, 1 / (y > 0).sum())
    assert loss == pytest.approx(loss_by_hand(model, y, weights), rel=1e-5)
    assert float(model.loss_metrics["loss"].result()) == pytest.approx(loss)


def test_fit_logs_that_loss():
    model = build()
    expected = loss_by_hand(model, Y, np.full(Y.shape, 1 / 6))
    model.compile("sgd")
    assert np.count_nonzero(Y) == 6
    history = model.fit({"item_ids": X}, Y, batch_size=3, verbose=0).history
    assert history == {"loss": [pytest.approx(expected, rel=1e-5)]}


def test_a_regularizer_counts():
    model = build()
    outputs = model({"item_ids": X}, training=True)
    plain = float(model.compute_loss({"item_ids": X}, Y, outputs))
    model.embedding.table.regularizer = keras.regularizers.L2(0.5)
    squares = float(np.square(model.embedding.table.numpy()).sum())
    assert float(model.compute_loss({"item_ids": X}, Y, outputs)) - plain == pytest.approx(
        0.5 * squares, 1e-4
    )


def test_training_moves_every_weight():
    model = build(learned_positions=True)
    model.compile(keras.optimizers.SGD(0.1))
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch({"item_ids": X}, Y)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.any(new.numpy() != old), new.path


every_kind = pytest.mark.parametrize(
    "options", [{}, {"norm_first": True}, {"learned_positions": True}, {"input_norm": False}]
)


@every_kind
def test_a_state_depends_on_its_own_and_every_earlier_item_and_on_no_later_one(options):
    model = build(**options)
    before = states_of(model, [[1, 2, 3, 4]])[0]
    for changed in range(LENGTH):
        items = [1, 2, 3, 4]
        items[changed] = 6
        distance = np.abs(states_of(model, [items])[0] - before).max(axis=-1)
        assert (distance[:changed] < 1e-6).all() and (distance[changed:] > 1e-3).all()


@every_kind
def test_a_state_depends_on_the_order_of_the_earlier_items(options):
    model = build(**options)
    one, other = states_of(model, [[1, 2, 3, 4], [2, 1, 3, 4]])
    assert (np.abs(one - other).max(axis=-1) > 1e-3).all()


def test_padding_changes_no_state_of_relative_positions():
    model = build()
    padded, short = states_of(model, [[0, 1, 2, 3]]), states_of(model, [[1, 2, 3]])
    np.testing.assert_allclose(padded[:, 1:], short, atol=1e-5)


def test_scores_are_products_of_the_newest_state_with_the_items():
    model = build()
    expected = states_of(model, X)[:, -1] @ model.embedding.table.numpy().T
    np.testing.assert_allclose(model.score_items({"item_ids": X})[:, 1:], expected[:, 1:], rtol=1e-4)


def test_of_a_window_longer_than_the_model_looks_at_the_newest_items_count():
    model = build(learned_positions=True)
    np.testing.assert_allclose(states_of(model, [[5, 6, 1, 2, 3, 4]]), states_of(model, [[1, 2, 3, 4]]))
