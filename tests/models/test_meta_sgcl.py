"""The objective and the two-step update of Meta-SGCL."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from metasgcl_tf.data import pipelines
from metasgcl_tf.models import MetaSGCL
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam

NUM_ITEMS, LENGTH, DIM = 7, 4, 4
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
Y = np.array([[0, 0, 2, 3], [0, 4, 5, 1], [0, 0, 0, 1]], np.int32)  # the third row: only its last counts


def build(seed=0, **options):
    keras.utils.set_random_seed(seed)
    sizes = {"hidden_dim": DIM, "num_layers": 1, "num_heads": 2, "dropout": 0.0, "kl_warmup_steps": 0}
    model = MetaSGCL(NUM_ITEMS, LENGTH, **(sizes | options))
    # Weights as after some training: at the start the two views are nearly the same.
    rng = np.random.default_rng(seed)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.2, size=v.shape))
    return model


def fix_noise(model):
    """The same noise at every call, another one for each view, so that an update can be computed twice."""
    noise = np.random.default_rng(0).normal(size=(2, *X.shape, DIM)).astype(np.float32)

    def sample(mean, log_variance):
        sample.calls += 1
        return mean + ops.exp(0.5 * log_variance) * noise[sample.calls % 2]

    sample.calls = 1
    model.sample = sample
    return model


def pair(main, meta):
    return PairOptimizer(keras.optimizers.SGD(main), keras.optimizers.SGD(meta))


def update(model, optimizer):
    """The weights before and after one update."""
    model.compile(optimizer, run_eagerly=True)
    before = weights(model)
    model.train_on_batch({"item_ids": X}, Y)
    return before, weights(model)


def weights(model):
    """By number and name; without the numbers that Keras gives to layers of one kind."""
    names = [re.sub(r"_\d+(?=/)", "", v.path.partition("/")[2]) for v in model.trainable_variables]
    values = [v.numpy() for v in model.trainable_variables]
    return {f"{i} {name}": value for i, (name, value) in enumerate(zip(names, values, strict=True))}


def changed(before, after):
    return sorted(name for name in before if not np.array_equal(before[name], after[name]))


def meta_names(model):
    names = sorted(name for name in weights(model) if "/meta_log_variance/" in name)
    assert [name.rpartition("/")[2] for name in names] == ["kernel", "bias"]
    return names


# ---- the two-step update ------------------------------------------------------------------------


def test_step_1_never_moves_the_meta_encoder():
    model = build()
    before, after = update(model, pair(main=0.1, meta=0.0))
    others = set(before) - set(meta_names(model))
    assert set(changed(before, after)) == others  # and moves everything else


def test_step_2_moves_the_meta_encoder_alone():
    model = build()
    before, after = update(model, pair(main=0.0, meta=0.1))
    assert changed(before, after) == meta_names(model)


def test_step_2_descends_the_contrastive_loss_of_the_updated_model():
    once = fix_noise(build())
    _, after_step_1 = update(once, pair(main=0.1, meta=0.0))
    meta = [once.heads.meta_log_variance.kernel, once.heads.meta_log_variance.bias]
    with tf.GradientTape() as tape:
        outputs = once({"item_ids": X}, training=True)
        loss = info_nce_loop(outputs["states"], outputs["meta_states"])
    gradients = tape.gradient(loss, [v.value for v in meta])
    assert all(np.abs(g).max() > 1e-4 for g in gradients)

    both = fix_noise(build())
    _, after = update(both, pair(main=0.1, meta=0.5))
    for name, gradient in zip(meta_names(both), gradients, strict=True):
        np.testing.assert_allclose(after[name], after_step_1[name] - 0.5 * gradient, atol=1e-6)


def info_nce_loop(states, meta_states, temperature=1.0):
    """The contrastive loss at the newest position, anchor by anchor."""
    both = [*tf.unstack(states[:, -1]), *tf.unstack(meta_states[:, -1])]
    size, terms = len(both) // 2, []
    for anchor, vector in enumerate(both):
        candidates = [n for n in range(2 * size) if n != anchor]
        logits = tf.stack([tf.tensordot(vector, both[n], 1) / temperature for n in candidates])
        positive = candidates.index((anchor + size) % (2 * size))
        terms.append(tf.reduce_logsumexp(logits) - logits[positive])
    return tf.add_n(terms) / len(terms)


def test_joint_training_moves_everything_at_once():
    two_step, joint = fix_noise(build()), fix_noise(build(training="joint"))
    before, after_two_step = update(two_step, pair(main=0.1, meta=0.0))
    _, after_joint = update(joint, keras.optimizers.SGD(0.1))
    assert changed(before, after_joint) == sorted(before)
    for name in set(before) - set(meta_names(joint)):
        np.testing.assert_allclose(after_joint[name], after_two_step[name], atol=1e-6, err_msg=name)


def test_both_ways_of_training_share_the_variables():
    two_step, joint = build(seed=0), build(seed=1, training="joint")
    assert list(weights(joint)) == list(weights(two_step))
    joint.set_weights(two_step.get_weights())
    inputs = {"item_ids": X}
    np.testing.assert_array_equal(joint.score_items(inputs), two_step.score_items(inputs))


def test_one_optimizer_becomes_two_of_the_same_kind():
    model = build()
    model.compile(keras.optimizers.Adam(0.02, beta_1=0.7))
    assert model.optimizer.main is not model.optimizer.meta
    assert model.optimizer.main.get_config()["beta_1"] == model.optimizer.meta.get_config()["beta_1"] == 0.7
    main, meta = model.optimizer.split(model.trainable_variables)
    assert (len(main), len(meta)) == (len(model.trainable_variables) - 2, 2)
    joint = build(training="joint")
    joint.compile("adam")
    assert isinstance(joint.optimizer, keras.optimizers.Adam)


# ---- the objective ------------------------------------------------------------------------------


def loss_of(model, sample_weight=None, outputs=None, y=Y):
    outputs = outputs or model({"item_ids": X}, training=True)
    return float(model.compute_loss({"item_ids": X}, y, outputs, sample_weight)), outputs


def by_hand(model, outputs, y, sample_weight):
    """The terms of eq. 28, target by target in numpy."""
    table = model.embedding.table.numpy()[1:].astype(np.float64)
    out = {name: tensor.numpy().astype(np.float64) for name, tensor in outputs.items()}
    terms = dict.fromkeys(["rs", "meta_rs", "kl", "meta_kl"], 0.0)
    for row, place in np.argwhere(y):
        at, weight = (row, place - y.shape[1]), sample_weight[row, place]
        for view in ("", "meta_"):
            logits = table @ out[f"{view}states"][at]
            log_probability = logits[y[row, place] - 1] - np.logaddexp.reduce(logits)
            terms[f"{view}rs"] -= weight * log_probability
            mean, log_variance = out["mean"][at], out[f"{view}log_variance"][at]
            divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
            terms[f"{view}kl"] += weight * divergence
    contrast = float(info_nce_loop(outputs["states"], outputs["meta_states"], model.temperature))
    return terms | {"cl": contrast}


@pytest.mark.parametrize("newest", [LENGTH, 1], ids=["all positions", "newest position"])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_the_sum_of_its_terms(newest, weighted):
    model = build(kl_weight=0.3, contrastive_weight=0.2, temperature=0.5)
    y = Y[:, -newest:]
    # Weights where there is no target must not count.
    given = np.random.default_rng(2).uniform(0.5, 2, y.shape).astype(np.float32) if weighted else None
    loss, outputs = loss_of(model, given, y=y)
    terms = by_hand(model, outputs, y, given if weighted else np.full(y.shape, 1 / (y > 0).sum()))
    expected = terms["rs"] + terms["meta_rs"] + 0.3 * (terms["kl"] + terms["meta_kl"]) + 0.2 * terms["cl"]
    assert loss == pytest.approx(expected, rel=1e-5)
    assert all(term > 1e-3 for term in terms.values())  # none is lost in the tolerance
    reported = {name: float(metric.result()) for name, metric in model.loss_metrics.items()}
    assert reported["loss"] == pytest.approx(expected, rel=1e-5)
    names = {"reconstruction_loss": "rs", "meta_reconstruction_loss": "meta_rs", "contrastive_loss": "cl"}
    for name, term in (names | {"kl": "kl", "meta_kl": "meta_kl"}).items():
        assert reported[name] == pytest.approx(terms[term], rel=1e-4), name


def test_reported_spreads_are_those_at_the_targets():
    model = build()
    _, outputs = loss_of(model)
    for name, output in (("mean_sigma", "log_variance"), ("mean_meta_sigma", "meta_log_variance")):
        sigma = np.exp(0.5 * outputs[output].numpy())[Y > 0]
        assert float(model.loss_metrics[name].result()) == pytest.approx(sigma.mean(), rel=1e-5)
    kl = float(model.loss_metrics["kl"].result())
    assert float(model.loss_metrics["kl_per_dim"].result()) == pytest.approx(kl / DIM, rel=1e-5)


def test_temperature_and_similarity_change_the_loss():
    outputs = build()({"item_ids": X}, training=True)
    switches = [
        {"temperature": temperature, "similarity": similarity}
        for temperature in (1.0, 0.5)
        for similarity in ("dot", "cosine")
    ]
    losses = [loss_of(build(contrastive_weight=1.0, **s), outputs=outputs)[0] for s in switches]
    assert len({round(loss, 4) for loss in losses}) == 4


def test_a_regularizer_counts():
    model = build()
    plain, outputs = loss_of(model)
    model.embedding.table.regularizer = keras.regularizers.L2(0.5)
    with_regularizer, _ = loss_of(model, outputs=outputs)
    squares = float(np.square(model.embedding.table.numpy()).sum())
    assert with_regularizer - plain == pytest.approx(0.5 * squares, rel=1e-4)


def test_kl_weight_warms_up_linearly_with_the_updates():
    model = build(kl_weight=0.2, kl_warmup_steps=4)
    model.compile("sgd")
    history = model.fit({"item_ids": X}, Y, batch_size=3, epochs=6, verbose=0).history
    np.testing.assert_allclose(history["kl_weight"], [0, 0.05, 0.1, 0.15, 0.2, 0.2], rtol=1e-5)
    assert set(history) == set(MetaSGCL.loss_names)


def test_without_a_warm_up_the_whole_kl_weight_counts_at_once():
    model = build(kl_weight=0.2, kl_warmup_steps=0)
    model.compile("sgd")
    assert float(model.current_kl_weight()) == pytest.approx(0.2)


# ---- views, and where data comes from -----------------------------------------------------------


def test_noise_is_for_training_only():
    model = build()
    serving = [model({"item_ids": X}, training=False) for _ in range(2)]
    np.testing.assert_array_equal(serving[0]["states"], serving[1]["states"])
    np.testing.assert_array_equal(serving[0]["states"], serving[0]["meta_states"])
    training = [model({"item_ids": X}, training=True) for _ in range(2)]
    assert set(training[0]) == set(serving[0])
    for one, other in (
        (training[0]["states"], training[1]["states"]),
        (training[0]["meta_states"], training[1]["meta_states"]),
        (training[0]["states"], training[0]["meta_states"]),
    ):
        assert np.abs(one - other).max() > 1e-3
    np.testing.assert_array_equal(training[0]["mean"], serving[0]["mean"])  # dropout is 0


def test_the_two_views_differ_by_their_spread_and_share_the_decoder():
    model = build()
    model.sample = lambda mean, log_variance: mean + ops.exp(0.5 * log_variance)
    outputs = model({"item_ids": X}, training=True)
    visible = ops.logical_and(np.tril(np.ones((LENGTH, LENGTH), bool)), (X != 0)[:, None, None, :])
    for name in ("", "meta_"):
        z = outputs["mean"] + ops.exp(0.5 * outputs[f"{name}log_variance"])
        np.testing.assert_allclose(outputs[f"{name}states"], model.decoder(z, visible), atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"norm_first": True}, {"learned_positions": True}])
def test_neither_the_future_nor_padding_changes_a_state(options):
    model = build(**options)
    states = model({"item_ids": np.array([[0, 1, 2, 3]])})["states"].numpy()
    other_future = model({"item_ids": np.array([[0, 1, 2, 6]])})["states"].numpy()
    np.testing.assert_allclose(other_future[:, 1:3], states[:, 1:3], atol=1e-6)
    assert np.abs(other_future[:, 3] - states[:, 3]).max() > 1e-3
    model.embedding.table.assign(ops.slice_update(model.embedding.table, (0, 0), ops.full((1, DIM), 9.0)))
    other_padding = model({"item_ids": np.array([[0, 1, 2, 3]])})["states"].numpy()
    np.testing.assert_allclose(other_padding[:, 1:], states[:, 1:], atol=1e-6)
    shorter = model({"item_ids": np.array([[1, 2, 3]])})["states"].numpy()
    np.testing.assert_allclose(states[:, 1:], shorter, atol=1e-5)


def test_without_decoder_blocks_latent_vectors_are_states():
    model = build(num_decoder_layers=0)
    found = model({"item_ids": X})
    np.testing.assert_array_equal(found["states"], found["mean"])
    newest = model({"item_ids": X}, newest=2)["states"]
    np.testing.assert_array_equal(newest, found["mean"][:, -2:])
    drawn = model({"item_ids": X}, training=True)
    assert np.ptp([drawn["states"], drawn["meta_states"]], axis=0).min() > 0


@pytest.mark.parametrize("recipe", [pipelines.next_item, pipelines.every_prefix], ids=lambda r: r.__name__)
def test_it_can_be_fitted_from_every_recipe(make_split, recipe):
    model = build()
    model.compile(RowWiseAdam(0.1), run_eagerly=True)
    split = make_split([[1, 2, 3, 4, 5, 6, 7], [2, 3, 4, 5], [5, 6, 7]])
    batches = recipe(split, max_length=LENGTH, batch_size=8)
    losses = model.fit(batches, epochs=4, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
