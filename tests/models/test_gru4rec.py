"""The recurrence of GRU4Rec by hand, and what its states know."""

import keras
import numpy as np
import pytest

from metasgcl_tf.models import GRU4Rec
from metasgcl_tf.optimizers import RowWiseAdam

NUM_ITEMS, LENGTH, DIM = 7, 4, 3
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
Y = np.array([[0, 0, 2, 3], [0, 4, 5, 1], [0, 0, 0, 1]], np.int32)
both_depths = pytest.mark.parametrize("num_layers", [1, 2])


def build(**options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    model = GRU4Rec(NUM_ITEMS, LENGTH, **({"hidden_dim": DIM, "dropout": 0.0} | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return model


def states_of(model, item_ids, **options):
    return model({"item_ids": np.asarray(item_ids, np.int32)}, **options)["states"].numpy()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def recurrence(layer, inputs):
    """One sequence without padding, `[L, D]`: gates z and r, candidate c, state h."""
    kernel, recurrent, (bias, recurrent_bias) = (w.astype(np.float64) for w in layer.get_weights())
    state, states = np.zeros(DIM), []
    for x in inputs:
        from_item, from_state = x @ kernel + bias, state @ recurrent + recurrent_bias
        z, r = sigmoid(from_item[: 2 * DIM] + from_state[: 2 * DIM]).reshape(2, DIM)
        candidate = np.tanh(from_item[2 * DIM :] + r * from_state[2 * DIM :])
        state = z * state + (1 - z) * candidate
        states.append(state)
    return np.array(states)


@both_depths
def test_the_states_are_those_of_gated_recurrent_units_over_the_real_items(num_layers):
    model = build(num_layers=num_layers)
    assert len(model.recurrent) == num_layers
    found = states_of(model, X)
    for row, items in zip(found, X, strict=True):
        states = model.embedding(items[None, items > 0]).numpy()[0]
        for layer in model.recurrent:
            states = recurrence(layer, states)
        np.testing.assert_allclose(row[items > 0], states, atol=1e-5)
        assert not row[items == 0].any()


@both_depths
def test_a_state_depends_on_its_own_and_every_earlier_item_and_on_no_later_one(num_layers):
    model = build(num_layers=num_layers)
    before = states_of(model, [[1, 2, 3, 4]])[0]
    for changed in range(LENGTH):
        items = [1, 2, 3, 4]
        items[changed] = 6
        distance = np.abs(states_of(model, [items])[0] - before).max(axis=-1)
        assert (distance[:changed] < 1e-6).all() and (distance[changed:] > 1e-4).all()


@both_depths
def test_a_state_depends_on_the_order_of_the_items_and_not_on_padding(num_layers):
    model = build(num_layers=num_layers)
    one, other = states_of(model, [[1, 2, 3, 4], [2, 1, 3, 4]])
    assert (np.abs(one - other).max(axis=-1) > 1e-4).all()
    padded, short = states_of(model, [[0, 0, 1, 2]]), states_of(model, [[1, 2]])
    np.testing.assert_allclose(padded[:, 2:], short, atol=1e-6)


@pytest.mark.parametrize("newest", [1, 3])
def test_states_of_the_newest_positions_are_the_end_of_all_states(newest):
    model = build()
    np.testing.assert_array_equal(states_of(model, X, newest=newest), states_of(model, X)[:, -newest:])


def test_training_moves_every_weight():
    model = build(num_layers=2)
    model.compile(keras.optimizers.SGD(0.1))
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch({"item_ids": X}, Y)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.any(new.numpy() != old), new.path


def test_dropout_leaves_the_recurrence_alone():
    """What it drops of a state is missing in the output, not at the next position."""
    model, dropped = build(), build(dropout=0.5)
    for v, same in zip(dropped.trainable_variables, model.trainable_variables, strict=True):
        v.assign(same)
    dropped.embedding.dropout.rate = 0.0
    found, whole = states_of(dropped, X, training=True), states_of(model, X)
    kept = found != 0
    np.testing.assert_allclose(found[kept], 2 * whole[kept], rtol=1e-5)
    assert 0 < kept[whole != 0].mean() < 1


def test_it_is_fitted_in_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build()
    finally:
        keras.config.set_dtype_policy("float32")
    model.compile(RowWiseAdam(0.05))
    losses = [model.train_on_batch({"item_ids": X}, Y, return_dict=True)["loss"] for _ in range(20)]
    assert losses[-1] < 0.8 * losses[0]
