"""Two optimizers in one: who updates what, and what survives saving."""

import keras
import numpy as np
import pytest

from metasgcl_tf.models import MetaSGCL
from metasgcl_tf.optimizers import PairOptimizer


@pytest.fixture
def variables():
    """Kernel and bias of an ordinary layer, of the meta layer, and of one that is only named like it."""
    layers = [keras.layers.Dense(1, name=name) for name in ("encoder", "meta", "meta_not")]
    model = keras.Sequential([keras.Input((1,)), *layers])
    assert len(model.trainable_variables) == 6
    return model.trainable_variables


def sgd_pair():
    return PairOptimizer(keras.optimizers.SGD(1.0), keras.optimizers.SGD(0.25), meta_layer="meta")


def names(variables):
    return ["/".join(v.path.split("/")[-2:]) for v in variables]


def test_variables_are_split_by_the_name_of_the_layer(variables):
    main, meta = sgd_pair().split(variables)
    assert names(main) == ["encoder/kernel", "encoder/bias", "meta_not/kernel", "meta_not/bias"]
    assert names(meta) == ["meta/kernel", "meta/bias"]


def test_each_variable_moves_by_its_own_optimizer(variables):
    optimizer = sgd_pair()
    optimizer.build(variables)
    before = [v.numpy() for v in variables]
    optimizer.apply([keras.ops.ones_like(v) for v in variables])
    moved = [float((b - v.numpy()).item()) for b, v in zip(before, variables, strict=True)]
    np.testing.assert_allclose(moved, [1, 1, 0.25, 0.25, 1, 1], rtol=1e-5)


def test_each_optimizer_holds_slots_for_its_own_variables_only(variables):
    optimizer = PairOptimizer(keras.optimizers.SGD(0.1, momentum=0.9), keras.optimizers.Adam(), "meta")
    optimizer.build(variables)
    optimizer.build(variables)  # a second time changes nothing
    momenta = [v.path for v in optimizer.main.variables if "momentum" in v.path]
    assert len(momenta) == 4
    assert len([v for v in optimizer.meta.variables if "momentum" in v.path or "velocity" in v.path]) == 4
    union = {id(v) for v in optimizer.variables}
    assert union >= {id(v) for v in (*optimizer.main.variables, *optimizer.meta.variables)}


def test_learning_rate_and_iterations_are_the_main_ones(variables):
    optimizer = sgd_pair()
    optimizer.build(variables)
    optimizer.learning_rate = 0.5
    assert float(optimizer.learning_rate) == float(optimizer.main.learning_rate) == 0.5
    assert float(optimizer.meta.learning_rate) == 0.25
    main, _ = optimizer.split(variables)
    optimizer.main.apply([keras.ops.zeros_like(v) for v in main], main)
    assert int(optimizer.iterations) == 1 and int(optimizer.meta.iterations) == 0


def test_config_round_trip():
    optimizer = PairOptimizer(
        keras.optimizers.Adam(0.01, beta_1=0.8), keras.optimizers.SGD(0.2, momentum=0.5), "meta", name="two"
    )
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, PairOptimizer)
    assert (type(again.main), type(again.meta)) == (keras.optimizers.Adam, keras.optimizers.SGD)
    assert again.get_config() == optimizer.get_config()
    assert (again.main.beta_1, again.meta.momentum, again.meta_layer) == (0.8, 0.5, "meta")


# ---- save, reload, continue ---------------------------------------------------------------------


def train(model, steps, noise):
    """Trains on one fixed batch. The state of the noise is not saved with a model, so each part sets it."""
    model.sample.seed_generator.state.assign([noise, 0])
    x = {"item_ids": np.array([[0, 1, 2, 3], [2, 3, 4, 5], [0, 0, 5, 1]])}
    y = np.array([[0, 2, 3, 4], [3, 4, 5, 1], [0, 0, 1, 2]])
    model.fit(x, y, batch_size=3, epochs=steps, shuffle=False, verbose=0)


def state(model):
    weights = [v for v in model.variables if "seed_generator" not in v.path]
    return [v.numpy() for v in (*weights, *model.optimizer.variables)]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A model trained without a break, and one saved after 3 of 5 updates, reloaded and trained on."""
    keras.utils.set_random_seed(0)
    model = MetaSGCL(5, 4, hidden_dim=4, num_layers=1, num_heads=1, dropout=0.0, kl_warmup_steps=4)
    model.compile(PairOptimizer(keras.optimizers.Adam(0.05), keras.optimizers.Adam(0.01)))
    train(model, 3, noise=1)
    path = tmp_path_factory.mktemp("model") / "model.keras"
    model.save(path)
    at_save = state(model)
    train(model, 2, noise=2)
    reloaded = keras.models.load_model(path)
    at_load = state(reloaded)
    train(reloaded, 2, noise=2)
    return model, reloaded, at_save, at_load


def test_a_reloaded_model_has_the_state_of_both_optimizers(resumed):
    _, reloaded, at_save, at_load = resumed
    for saved, loaded in zip(at_save, at_load, strict=True):
        np.testing.assert_array_equal(loaded, saved)
    assert isinstance(reloaded.optimizer, PairOptimizer)
    assert any(np.any(v.numpy()) for v in reloaded.optimizer.meta.variables if "velocity" in v.path)


def test_training_continues_as_if_it_had_never_stopped(resumed):
    model, reloaded, at_save, _ = resumed
    for ours, without_break in zip(state(reloaded), state(model), strict=True):
        np.testing.assert_allclose(ours, without_break, rtol=1e-6, atol=1e-7)
    assert int(reloaded.optimizer.iterations) == int(reloaded.optimizer.meta.iterations) == 5
    meta_kernel = reloaded.heads.meta_log_variance.kernel.numpy()
    assert not any(meta_kernel.shape == v.shape and np.array_equal(meta_kernel, v) for v in at_save)


def test_callbacks_see_and_set_the_main_rate(resumed):
    model, *_ = resumed
    model.fit(
        {"item_ids": np.array([[0, 1, 2, 3]])},
        np.array([[0, 2, 3, 4]]),
        callbacks=[keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)],
        verbose=0,
    )
    assert float(model.optimizer.main.learning_rate) == pytest.approx(0.025)
    assert float(model.optimizer.meta.learning_rate) == pytest.approx(0.01)


def test_moving_averages_of_both_parts_reach_the_weights():
    def averaging(rate):
        return keras.optimizers.SGD(rate, use_ema=True, ema_momentum=0.5)

    main, meta = keras.Variable([0.0], name="main"), keras.Variable([0.0], name="meta_log_variance")
    optimizer = PairOptimizer(averaging(1.0), averaging(2.0))
    optimizer.build([main, meta])
    for _ in range(2):
        optimizer.apply([np.ones(1), np.ones(1)], [main, meta])
    optimizer.finalize_variable_values([main, meta])
    # Weights -1, -2 and -2, -4; the average starts at the first weight and moves half way to the second.
    assert (float(main[0]), float(meta[0])) == (-1.5, -3.0)
