"""Two optimizers in one and Adam row by row: who updates what, and what survives saving."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.models import MetaSGCL, SASRec
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam

# ---- PairOptimizer ------------------------------------------------------------------------------


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


def train(model, steps, noise, **options):
    """Trains on one fixed batch. The state of the noise is not saved with a model, so each part sets it."""
    model.sample.seed_generator.state.assign([noise, 0])
    x = {"item_ids": np.array([[0, 1, 2, 3], [2, 3, 4, 5], [0, 0, 5, 1]])}
    y = np.array([[0, 2, 3, 4], [3, 4, 5, 1], [0, 0, 1, 2]])
    model.fit(x, y, batch_size=3, epochs=steps, shuffle=False, verbose=0, **options)


def state(model):
    weights = [v for v in model.variables if "seed_generator" not in v.path]
    return [v.numpy() for v in (*weights, *model.optimizer.variables)]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """A model trained without a break, and one saved after 3 of 5 updates, reloaded and trained on."""
    keras.utils.set_random_seed(0)
    model = MetaSGCL(5, 4, hidden_dim=4, num_layers=1, num_heads=1, dropout=0.0, kl_warmup_steps=4)
    model.compile(PairOptimizer(RowWiseAdam(0.05), RowWiseAdam(0.01)), run_eagerly=True)
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
    halving = keras.callbacks.LearningRateScheduler(lambda epoch, rate: rate / 2)
    train(model, 1, noise=3, callbacks=[halving])
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


# ---- RowWiseAdam --------------------------------------------------------------------------------

RATES = {"beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-3}
eagerly_and_compiled = pytest.mark.parametrize("compiled", [False, True], ids=["eager", "compiled"])


def updated(optimizer, gradients, shape=(6, 2), compiled=False):
    """A variable and its moments after each of some updates."""
    variable = keras.Variable(np.linspace(-1, 1, np.prod(shape)).reshape(shape).astype(np.float32))
    optimizer.build([variable])

    def step(gradient):
        optimizer.apply([gradient], [variable])

    step, found = tf.function(step, reduce_retracing=True) if compiled else step, []
    for gradient in gradients:
        step(gradient)
        moments = [v for v in optimizer.variables if "momentum" in v.path or "velocity" in v.path]
        found.append([v.numpy() for v in (variable, *moments)])
    return found


def rows_gradient(rows, values, num_rows=6):
    return tf.IndexedSlices(tf.constant(values, tf.float32), tf.constant(rows), tf.constant([num_rows, 2]))


def assert_same(found, expected):
    for ours, theirs in zip(found, expected, strict=True):
        for value, other in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(value, other, rtol=1e-5, atol=1e-7)


@eagerly_and_compiled
@pytest.mark.parametrize("shape", [(6, 2), (3,)])
def test_of_dense_gradients_it_is_adam(shape, compiled):
    gradients = np.random.default_rng(0).normal(size=(6, *shape)).astype(np.float32)
    gradients[3] = 0
    found, expected = (
        updated(cls(0.1, **RATES), map(tf.constant, gradients), shape, compiled)
        for cls in (RowWiseAdam, keras.optimizers.Adam)
    )
    assert_same(found, expected)


def clipped_by_hand(gradients, norm):
    """Dense gradients in float64, scaled down together."""
    total = np.sqrt(sum(np.sum(np.square(g, dtype=np.float64)) for g in gradients))
    return [g * min(1.0, norm / total) for g in gradients]


@eagerly_and_compiled
@pytest.mark.parametrize("norm", [0.5, 1e3])
def test_gradients_of_rows_are_clipped_with_the_dense_ones_and_stay_rows(norm, compiled):
    rng = np.random.default_rng(3)
    values, dense = rng.normal(size=(4, 2)).astype(np.float32), rng.normal(size=(3,)).astype(np.float32)
    table_gradient = np.zeros((6, 2))
    np.add.at(table_gradient, [1, 4, 1, 2], values)  # row 1 twice
    expected = clipped_by_hand([table_gradient, dense], norm)
    table, bias = keras.Variable(np.ones((6, 2), "float32")), keras.Variable(np.ones(3, "float32"))
    optimizer = RowWiseAdam(0.1, beta_1=0.5, beta_2=0.5, global_clipnorm=norm)
    optimizer.build([table, bias])

    def step():
        optimizer.apply([rows_gradient([1, 4, 1, 2], values), tf.constant(dense)], [table, bias])

    (tf.function(step) if compiled else step)()
    momenta = [v.numpy() for v in optimizer.variables if "momentum" in v.path]
    for found, gradient in zip(momenta, expected, strict=True):
        np.testing.assert_allclose(found, 0.5 * gradient, rtol=1e-5, atol=1e-7)
    before = [table.numpy()[[0, 3, 5]], table.numpy()[[1, 2, 4]]]
    optimizer.apply([rows_gradient([0], [[1.0, 1.0]]), tf.zeros(3)], [table, bias])
    np.testing.assert_array_equal(table.numpy()[[1, 2, 4]], before[1])  # untouched rows stay


def test_a_pair_clips_each_its_own(variables):
    inner = (keras.optimizers.SGD(1.0, global_clipnorm=1.0), keras.optimizers.SGD(1.0, global_clipnorm=1.0))
    optimizer, before = PairOptimizer(*inner, meta_layer="meta"), [v.numpy() for v in variables]
    optimizer.build(variables)
    gradients = [np.full(v.shape, n + 1.0, np.float32) for n, v in enumerate(variables)]
    optimizer.apply([tf.constant(g) for g in gradients])
    moved = [b - v.numpy() for b, v in zip(before, variables, strict=True)]
    for share in ([0, 1, 4, 5], [2, 3]):
        expected = clipped_by_hand([gradients[n] for n in share], 1.0)
        for n, gradient in zip(share, expected, strict=True):
            np.testing.assert_allclose(moved[n], gradient, rtol=1e-4)


def test_a_gradient_that_is_not_finite_is_not_hidden_by_clipping():
    for bad in (np.inf, np.nan):
        found = updated(RowWiseAdam(0.1, global_clipnorm=1.0), [tf.constant([[bad, 1.0]] * 6)])
        assert np.isnan(found[0][0]).all()


@pytest.mark.parametrize(
    "options", [{"clipnorm": 0.5}, {"weight_decay": 0.1}, {"use_ema": True}, {"amsgrad": True}]
)
def test_other_options_of_adam_keep_their_meaning(options):
    gradients = np.random.default_rng(1).normal(size=(4, 6, 2)).astype(np.float32)
    found, expected, plain = (
        updated(cls(0.1, **more), map(tf.constant, gradients))
        for cls, more in ((RowWiseAdam, options), (keras.optimizers.Adam, options), (RowWiseAdam, {}))
    )
    assert_same([f[:1] for f in found], [e[:1] for e in expected])
    if "use_ema" not in options:  # which changes the weights at the end of training only
        assert not np.allclose(found[-1][0], plain[-1][0])


@eagerly_and_compiled
def test_of_a_gradient_in_every_row_it_is_adam(compiled):
    rng = np.random.default_rng(2)
    orders = [rng.permutation(6) for _ in range(5)]
    values = rng.normal(size=(5, 6, 2)).astype(np.float32)
    in_rows = [rows_gradient(o, v) for o, v in zip(orders, values, strict=True)]
    dense = [tf.constant(v[np.argsort(o)]) for o, v in zip(orders, values, strict=True)]
    found = updated(RowWiseAdam(0.1, **RATES), in_rows, compiled=compiled)
    assert_same(found, updated(keras.optimizers.Adam(0.1, **RATES), dense))


def lazy_adam(start, steps, rate_of, beta_1, beta_2, epsilon):
    """Row by row: a row's moments wait until it is touched again; the bias correction counts every step."""
    variable, first, second = start.astype(np.float64), np.zeros(start.shape), np.zeros(start.shape)
    for step, (rows, values) in enumerate(steps, start=1):
        for row in set(rows):
            gradient = sum(value for r, value in zip(rows, values, strict=True) if r == row)
            first[row] = beta_1 * first[row] + (1 - beta_1) * gradient
            second[row] = beta_2 * second[row] + (1 - beta_2) * gradient**2
            corrected = first[row] / (1 - beta_1**step)
            spread = np.sqrt(second[row] / (1 - beta_2**step))
            # Keras adds epsilon before the correction of the second moment.
            correction = epsilon / np.sqrt(1 - beta_2**step)
            variable[row] -= rate_of(step - 1) * corrected / (spread + correction)
        yield variable.copy(), first.copy(), second.copy()


@eagerly_and_compiled
@pytest.mark.parametrize("scheduled", [False, True])
def test_of_a_gradient_in_some_rows_it_updates_these_by_the_sum_of_what_they_got(compiled, scheduled):
    rng = np.random.default_rng(3)
    rows = [[1, 4], [4, 4, 2, 4], [0], [1, 2, 1]]  # row 5 never, row 3 neither
    steps = [(r, rng.normal(size=(len(r), 2))) for r in rows]
    rate = keras.optimizers.schedules.ExponentialDecay(0.1, 1, 0.5) if scheduled else 0.1
    found = updated(RowWiseAdam(rate, **RATES), [rows_gradient(*s) for s in steps], compiled=compiled)
    start = np.linspace(-1, 1, 12).reshape(6, 2).astype(np.float32)

    def rate_of(step):
        return 0.1 * 0.5**step if scheduled else 0.1

    assert_same(found, list(lazy_adam(start, steps, rate_of, **RATES)))
    before = [start, np.zeros((6, 2)), np.zeros((6, 2))]
    for (touched, _), after in zip(steps, found, strict=True):
        others = np.setdiff1d(range(6), touched)
        for old, new in zip(before, after, strict=True):
            np.testing.assert_array_equal(new[others], old[others])
            assert (new[touched] != old[touched]).all()
        before = after


def test_it_writes_and_reads_its_configuration():
    optimizer = RowWiseAdam(0.02, beta_1=0.7, epsilon=1e-5)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert type(again) is RowWiseAdam and again.get_config() == optimizer.get_config()


def test_each_of_a_pair_may_be_row_wise(variables):
    after = []
    for cls in (RowWiseAdam, keras.optimizers.Adam):
        optimizer = PairOptimizer(cls(0.1), cls(0.01), meta_layer="meta")
        optimizer.build(variables)
        start = [v.numpy() for v in variables]
        for _ in range(2):
            optimizer.apply([keras.ops.ones_like(v) for v in variables])
        after.append([v.numpy() - s for v, s in zip(variables, start, strict=True)])
    for ours, theirs in zip(*after, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4)
    assert {round(float(-moved.item()), 4) for moved in after[0]} == {0.2, 0.02}


# ---- models that read some rows of the table ----------------------------------------------------

MANY = 2000
NEGATIVES = [7, 1500, 7, 3]
ITEM_IDS = np.array([[0, 0, 5, 6], [10, 11, 12, 13], [0, 5, 5, 900]], np.int32)
TARGETS = np.array([[0, 0, 6, 8], [11, 12, 13, 14], [0, 5, 900, 3]], np.int32)
READ = {0, 3, 5, 6, 7, 8, 10, 11, 12, 13, 14, 900, 1500}


def sampling_model(model=SASRec, **options):
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": 4, "num_layers": 1, "num_heads": 1, "dropout": 0.0, "num_negatives": 4}
    built = model(MANY, 4, **(sizes | {"item_loss": "sampled_softmax"} | options))
    built.item_loss.draw = lambda: tf.constant(NEGATIVES)
    return built


@pytest.mark.parametrize("model", [SASRec, MetaSGCL])
@pytest.mark.parametrize("item_loss", ["sampled_softmax", "gbce"])
def test_items_that_a_batch_does_not_name_stay_as_they_are(model, item_loss):
    built = sampling_model(model, item_loss=item_loss)
    one_compiled = (model, item_loss) == (SASRec, "sampled_softmax")
    built.compile(RowWiseAdam(0.05), run_eagerly=not one_compiled)
    before = built.embedding.table.numpy()
    built.train_on_batch({"item_ids": ITEM_IDS}, TARGETS)
    after = built.embedding.table.numpy()
    moved = np.flatnonzero((after != before).any(axis=1))
    assert READ - {0} <= set(moved) <= READ
    moments = [v.numpy() for v in built.optimizer.variables if v.shape == before.shape]
    assert len(moments) == 2
    for moment in moments:
        assert set(np.flatnonzero(moment.any(axis=1))) == set(moved)


def test_with_the_full_softmax_every_item_moves():
    model = sampling_model(item_loss="softmax")
    model.compile(RowWiseAdam(0.05))
    before = model.embedding.table.numpy()
    model.train_on_batch({"item_ids": ITEM_IDS}, TARGETS)
    assert (model.embedding.table.numpy() != before)[1:].any(axis=1).all()


class DenseAdam(keras.optimizers.Adam):
    """Keras' Adam takes every entry of a gradient in rows for a row of its own; this sums them first."""

    def update_step(self, gradient, variable, learning_rate):
        super().update_step(tf.convert_to_tensor(gradient), variable, learning_rate)


@pytest.mark.parametrize("item_loss", ["softmax", "sampled_softmax"])
def test_an_item_that_a_batch_names_often_moves_as_by_adam_that_sees_one_gradient(item_loss):
    tables = []
    for optimizer in (RowWiseAdam(0.01), DenseAdam(0.01)):
        model = sampling_model(item_loss=item_loss)
        model.compile(optimizer, run_eagerly=True)
        for _ in range(3):
            model.train_on_batch({"item_ids": np.full((4, 4), 5)}, np.full((4, 4), 8))
        tables.append(model.embedding.table.numpy())
    np.testing.assert_allclose(tables[0], tables[1], atol=1e-5)


def test_a_reloaded_model_continues_row_by_row_as_if_it_had_never_stopped(tmp_path):
    def train(model, steps):
        negatives, losses = tf.Variable(NEGATIVES), []
        model.item_loss.draw = lambda: tf.convert_to_tensor(negatives)
        model.make_train_function(force=True)  # it holds the variable it was traced with
        for step in steps:
            negatives.assign(tf.constant(NEGATIVES) + step)
            losses.append(model.train_on_batch({"item_ids": ITEM_IDS}, TARGETS))
        return losses

    model = sampling_model()
    model.compile(RowWiseAdam(keras.optimizers.schedules.CosineDecay(0.05, 10)))
    train(model, [0, 1, 2])
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(reloaded.optimizer) is RowWiseAdam
    at_load = [v.numpy() for v in model.optimizer.variables]
    for ours, theirs in zip(reloaded.optimizer.variables, at_load, strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs)
    np.testing.assert_allclose(train(reloaded, [3, 4]), train(model, [3, 4]), rtol=1e-5)
    for ours, without_break in zip(reloaded.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_allclose(ours, without_break, rtol=1e-6, atol=1e-7)


def test_weight_decay_shrinks_matrices_and_leaves_vectors():
    kernel, bias = keras.Variable(np.full((2, 2), 4, "float32")), keras.Variable(np.full(2, 4, "float32"))
    optimizer = RowWiseAdam(0.1, weight_decay=0.5)
    optimizer.build([kernel, bias])
    optimizer.apply([tf.zeros((2, 2)), tf.zeros(2)], [kernel, bias])
    np.testing.assert_allclose(kernel, np.full((2, 2), 4.0 * (1 - 0.1 * 0.5)), rtol=1e-6)
    np.testing.assert_array_equal(bias, np.full(2, 4.0))
