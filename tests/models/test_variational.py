"""What the variational models beside Meta-SGCL share: noise, the warm-up, states of the newest positions."""

import keras
import numpy as np
import pytest
from keras import ops

from metasgcl_tf.models import ACVAE, VSAN, ContrastVAE
from metasgcl_tf.optimizers import RowWiseAdam
from tests.model_side import check_gradients_from_the_newest_states

NUM_ITEMS, LENGTH, DIM = 7, 5, 4
X = np.array([[0, 0, 1, 2, 4], [0, 3, 4, 5, 6], [2, 4, 6, 7, 1], [0, 0, 0, 0, 3]], np.int32)
Y = np.array([[0, 0, 2, 4, 5], [0, 4, 5, 6, 7], [0, 0, 0, 1, 2], [0, 0, 0, 0, 2]], np.int32)
# One step and two. ContrastVAE is as VSAN here.
LIKE_ANOTHER = pytest.param(ContrastVAE, marks=pytest.mark.slow)
every_model = pytest.mark.parametrize("model", [VSAN, ACVAE, LIKE_ANOTHER])


def build(model, **options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    built = model(NUM_ITEMS, LENGTH, **({"hidden_dim": DIM, "dropout": 0.0, "kl_warmup_steps": 0} | options))
    rng = np.random.default_rng(0)
    for v in built.trainable_variables:
        v.assign(v + rng.normal(scale=0.2, size=v.shape))
    return built


def fix_noise(built):
    """The same noise at every call, so that a loss can be computed twice."""
    noise = np.random.default_rng(0).normal(size=(LENGTH, DIM)).astype(np.float32)
    built.sample = lambda mean, log_variance: mean + ops.exp(0.5 * log_variance) * noise
    return built


@pytest.fixture(scope="module", params=[VSAN, ACVAE, ContrastVAE])
def fixed(request):
    """Each model with the same noise at every call; tests only read from it."""
    return fix_noise(build(request.param))


@every_model
def test_noise_is_for_training_only(model):
    built = build(model)
    serving = [built({"item_ids": X}, training=False) for _ in range(2)]
    training = [built({"item_ids": X}, training=True) for _ in range(2)]
    assert set(training[0]) == set(serving[0])
    for name in {"states", "second_states"} & set(serving[0]):
        np.testing.assert_array_equal(serving[0][name], serving[1][name])
        assert np.abs(training[0][name] - training[1][name]).max() > 1e-3
        assert np.abs(training[0][name] - serving[0][name]).max() > 1e-3


@pytest.mark.parametrize("training", [False, True])
def test_states_of_the_newest_positions_are_the_end_of_all_states(fixed, training):
    whole = fixed({"item_ids": X}, training=training)
    for newest in (1, 3):
        short = fixed({"item_ids": X}, training=training, newest=newest)
        assert set(short) == set(whole)
        for name in {"states", "second_states"} & set(whole):
            assert short[name].shape == (len(X), newest, DIM)
            np.testing.assert_allclose(short[name], whole[name][:, -newest:], atol=1e-5)


def test_targets_at_the_newest_position_give_the_same_gradients_whatever_states_are_there(fixed):
    check_gradients_from_the_newest_states(fixed, X)


@pytest.mark.parametrize("training", [False, True])
def test_a_state_depends_on_its_own_and_every_earlier_item_and_on_no_later_one(fixed, training):
    rows = np.tile(np.arange(1, LENGTH + 1, dtype=np.int32), (LENGTH + 1, 1))
    rows[range(1, LENGTH + 1), range(LENGTH)] = 6  # another item at each position in turn
    before, *after = fixed({"item_ids": rows}, training=training)["states"].numpy()
    for changed, states in enumerate(after):
        distance = np.abs(states - before).max(axis=-1)
        assert (distance[:changed] < 1e-6).all() and (distance[changed:] > 1e-5).all()


@every_model
def test_neither_the_number_nor_the_content_of_padding_changes_a_state(model):
    built = build(model)
    states = built({"item_ids": np.array([[0, 0, 1, 2, 3]])})["states"].numpy()[:, 2:]
    built.embedding.table.assign(ops.slice_update(built.embedding.table, (0, 0), ops.full((1, DIM), 9.0)))
    for padding in (0, 1, 2):
        items = np.array([[0] * padding + [1, 2, 3]])
        np.testing.assert_allclose(built({"item_ids": items})["states"][:, padding:], states, atol=1e-5)


@every_model
def test_training_moves_every_weight(model):
    built = build(model)
    built.compile(keras.optimizers.SGD(0.1), run_eagerly=True)
    before = [v.numpy() for v in built.trainable_variables]
    built.train_on_batch({"item_ids": X}, Y)
    for old, new in zip(before, built.trainable_variables, strict=True):
        assert np.any(new.numpy() != old), new.path


@every_model
def test_kl_weight_warms_up_linearly_with_the_updates(model):
    built = build(model, kl_weight=0.2, kl_warmup_steps=2)
    built.compile("sgd", run_eagerly=True)
    history = built.fit({"item_ids": X}, Y, batch_size=4, epochs=4, verbose=0).history
    np.testing.assert_allclose(history["kl_weight"], [0, 0.1, 0.2, 0.2], rtol=1e-5)
    assert set(history) == set(model.loss_names)


@every_model
def test_a_regularizer_counts(model):
    built = build(model)
    outputs = built({"item_ids": X}, training=True)
    plain = float(built.compute_loss({"item_ids": X}, Y, outputs))
    built.embedding.table.regularizer = keras.regularizers.L2(0.5)
    squares = float(np.square(built.embedding.table.numpy()).sum())
    loss = float(built.compute_loss({"item_ids": X}, Y, outputs))
    assert loss - plain == pytest.approx(0.5 * squares, rel=1e-3)


@pytest.mark.slow  # test_neural.py has Meta-SGCL, which has their layers
@every_model
def test_it_is_fitted_in_half_precision(model):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        built = model(NUM_ITEMS, LENGTH, hidden_dim=8, dropout=0.0)
        built.compile(RowWiseAdam(0.1), run_eagerly=True)
        losses = built.fit({"item_ids": X}, Y, batch_size=4, epochs=5, verbose=0).history["loss"]
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < 0.9 * losses[0]
