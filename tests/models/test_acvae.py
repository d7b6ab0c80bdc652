"""The adversary of ACVAE, its two updates and its objective."""

import math
import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.errors import InputError
from metasgcl_tf.layers.adversarial import NoisyConvolution, PairScore, pair_loss
from metasgcl_tf.layers.alignment import rotated
from metasgcl_tf.models import ACVAE
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam

NUM_ITEMS, LENGTH, DIM = 7, 4, 4
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
Y = np.array([[0, 0, 2, 3], [0, 4, 5, 1], [0, 0, 0, 1]], np.int32)  # the third row: only its last counts


def build(**options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "dropout": 0.0, "kl_warmup_steps": 0}
    model = ACVAE(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return model


def pair(main, adversary):
    return PairOptimizer(main, adversary, meta_layer="adversary")


def changed(model, optimizer):
    """The paths of the weights that one batch moves."""
    model.compile(optimizer, run_eagerly=True)
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch({"item_ids": X}, Y)
    pairs = zip(before, model.trainable_variables, strict=True)
    return {v.path for old, v in pairs if np.any(v.numpy() != old)}


def paths(layer):
    return {v.path for v in layer.trainable_variables}


# ---- the two updates ----------------------------------------------------------------------------


def test_step_1_never_moves_the_adversary_and_moves_everything_else():
    model = build()
    moved = changed(model, pair(keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.0)))
    assert len(paths(model.adversary)) == 6
    assert moved == paths(model) - paths(model.adversary)


def test_step_2_moves_the_adversary_alone():
    model = build()
    moved = changed(model, pair(keras.optimizers.SGD(0.0), keras.optimizers.SGD(0.1)))
    assert moved == paths(model.adversary)


def test_step_2_descends_the_loss_of_the_updated_model():
    def run(adversary_rate):
        model = build()
        noise = np.random.default_rng(0).normal(size=(*X.shape, DIM)).astype(np.float32)
        model.sample = lambda mean, log_variance: mean + ops.exp(0.5 * log_variance) * noise
        changed(model, pair(keras.optimizers.SGD(0.1), keras.optimizers.SGD(adversary_rate)))
        return model

    once, both = run(0.0), run(0.5)
    weights = [v.value for v in once.adversary.trainable_variables]
    with tf.GradientTape() as tape:
        outputs = once({"item_ids": X}, training=True)
        drawn = once.adversary(outputs["items"], outputs["latent"])
        prior = once.adversary(outputs["items"], once.standard_normal(outputs["latent"]))
        loss = tf.reduce_mean((tf.nn.softplus(-drawn) + tf.nn.softplus(prior))[Y > 0])
    for v, weight, gradient in zip(
        both.adversary.trainable_variables, weights, tape.gradient(loss, weights), strict=True
    ):
        assert np.abs(gradient).max() > 1e-4
        np.testing.assert_allclose(v, weight - 0.5 * gradient, atol=1e-6)


@pytest.mark.slow
def test_the_adversary_learns_to_tell_the_posterior_of_a_frozen_encoder_from_the_prior():
    keras.utils.set_random_seed(0)
    model = ACVAE(NUM_ITEMS, LENGTH, hidden_dim=DIM)
    model.compile(pair(keras.optimizers.SGD(0.0), RowWiseAdam(0.02)))
    first = model.train_on_batch({"item_ids": X}, Y, return_dict=True)["adversary_loss"]
    assert first == pytest.approx(math.log(4), abs=0.1)  # it knows nothing yet
    for _ in range(49):
        model.train_on_batch({"item_ids": X}, Y)
    model.reset_metrics()
    last = [model.train_on_batch({"item_ids": X}, Y, return_dict=True) for _ in range(10)][-1]
    assert last["adversary_loss"] < 0.7 * math.log(4)  # the mean of the ten


def test_one_optimizer_becomes_two_and_another_pair_is_refused():
    model = build()
    model.compile(keras.optimizers.Adam(0.02, beta_1=0.7))
    assert model.optimizer.main is not model.optimizer.meta
    assert model.optimizer.main.get_config()["beta_1"] == model.optimizer.meta.get_config()["beta_1"] == 0.7
    _, of_adversary = model.optimizer.split(model.trainable_variables)
    assert {v.path for v in of_adversary} == paths(model.adversary)
    with pytest.raises(InputError, match="`meta_layer` should be 'adversary'"):
        model.compile(PairOptimizer(keras.optimizers.SGD(), keras.optimizers.SGD()))


@pytest.mark.slow  # in tests/test_optimizers.py it is Meta-SGCL's
def test_the_state_of_both_optimizers_survives_saving(tmp_path):
    model = build(contrastive_weight=0.3)
    model.compile(pair(RowWiseAdam(0.1), RowWiseAdam(0.01)), run_eagerly=True)
    model.fit({"item_ids": X}, Y, batch_size=3, epochs=4, verbose=0)
    model.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    for name in ("main", "meta"):
        ours, theirs = (getattr(each.optimizer, name).variables for each in (model, reloaded))
        assert len(ours) == len(theirs) > 12 and int(theirs[0]) == 4  # its updates
        for one, other in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(one, other, err_msg=one.path)
    # And it goes on as if nothing had happened.
    noise = np.random.default_rng(0).normal(size=(*X.shape, DIM)).astype(np.float32)
    for each in (model, reloaded):
        each.sample = lambda mean, log_variance: mean + ops.exp(0.5 * log_variance) * noise
        each.compile(each.optimizer, run_eagerly=True)
        each.train_on_batch({"item_ids": X}, Y)
    for one, other in zip(model.trainable_variables, reloaded.trainable_variables, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6, err_msg=one.path)


# ---- the objective ------------------------------------------------------------------------------


def softplus(x):
    return np.logaddexp(0, x)


def contrast_by_hand(model, outputs, weights, real):
    """Each history with its own latent against the same with the latent of the next row, one by one."""
    total = 0.0
    for row, place in np.argwhere(weights):
        other = (row + 1) % len(X)
        if not (real[row, place] and real[other, place]):
            continue
        history = outputs["history"][row, place]
        own = float(model.critic(history[None], outputs["latent"][row, place][None])[0])
        others = float(model.critic(history[None], outputs["latent"][other, place][None])[0])
        total += weights[row, place] * (softplus(-own) + softplus(others))
    return total


@pytest.mark.parametrize("newest", [LENGTH, 1], ids=["all positions", "newest position"])
def test_the_loss_is_the_sum_of_its_terms(newest):
    model = build(kl_weight=0.3, contrastive_weight=0.2)
    y = Y[:, -newest:]
    given = np.random.default_rng(2).uniform(0.5, 2, y.shape).astype(np.float32)
    weights = given * (y > 0)
    outputs = model({"item_ids": X}, training=True)
    loss = float(model.compute_loss({"item_ids": X}, y, outputs, given))
    end = {name: tensor[:, -newest:] for name, tensor in outputs.items()}

    logits = end["states"].numpy() @ model.embedding.table.numpy()[1:].T
    log_probabilities = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    at_targets = np.take_along_axis(log_probabilities, np.maximum(y - 1, 0)[..., None], axis=-1)[..., 0]
    terms = {
        "reconstruction_loss": -(weights * at_targets).sum(),
        "kl": (weights * model.adversary(end["items"], end["latent"]).numpy()).sum(),
        "contrastive_loss": contrast_by_hand(model, end, weights, (X != 0)[:, -newest:]),
    }
    assert all(abs(term) > 1e-2 for term in terms.values())
    expected = terms["reconstruction_loss"] + 0.3 * terms["kl"] + 0.2 * terms["contrastive_loss"]
    assert loss == pytest.approx(expected, rel=1e-4)
    reported = {name: float(metric.result()) for name, metric in model.loss_metrics.items()}
    assert {name: reported[name] for name in terms} == pytest.approx(terms, rel=1e-4)


def test_one_user_alone_has_nobody_to_be_told_from():
    model = build(contrastive_weight=5.0)
    outputs = model({"item_ids": X[1:2]}, training=True)
    model.compute_loss({"item_ids": X[1:2]}, Y[1:2], outputs)
    assert float(model.loss_metrics["contrastive_loss"].result()) == 0


def test_latents_of_padding_are_no_other_users():
    model = build()
    outputs = model({"item_ids": X}, training=True)
    history, latent, real = outputs["history"], outputs["latent"].numpy(), X != 0
    before = model.contrast(history, latent, real).numpy()
    latent[~real] = 50.0
    np.testing.assert_allclose(model.contrast(history, latent, real), before, rtol=1e-5)
    assert (before > 0).tolist() == [[0, 0, 1, 1], [0, 1, 1, 1], [0, 0, 1, 1]]


def test_items_are_data_to_the_adversary():
    model = build(kl_weight=100.0, contrastive_weight=0.0)
    items = model({"item_ids": X}, training=True)
    with tf.GradientTape() as tape:
        tape.watch([items["items"], items["latent"]])
        loss = model.compute_loss({"item_ids": X}, Y, items)
    of_items, of_latent = tape.gradient(loss, [items["items"], items["latent"]])
    assert of_items is None and np.abs(of_latent[:, -1]).min() > 1e-3


# ---- its parts ----------------------------------------------------------------------------------


def test_a_trained_adversary_gives_the_kl_divergence():
    keras.utils.set_random_seed(0)
    score, rng = PairScore(), np.random.default_rng(0)
    x = np.repeat([[1.0, 0.0], [0.0, 1.0]], 500, axis=0).astype(np.float32)
    mean, sigma = np.where(x[:, :1] > 0, [[1.0, -0.5]], [[-0.5, 0.2]]), np.where(x[:, :1] > 0, 0.6, 0.8)
    optimizer = RowWiseAdam(0.01)

    def draw():
        return (mean + sigma * rng.normal(size=x.shape)).astype(np.float32)

    score(x, draw())

    @tf.function
    def step(latent, prior):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(pair_loss(score(x, latent), score(x, prior)))
        optimizer.apply(tape.gradient(loss, score.trainable_variables), score.trainable_variables)

    for _ in range(400):
        step(draw(), rng.normal(size=x.shape).astype(np.float32))
    estimate = np.mean([score(x, draw()).numpy() for _ in range(20)], axis=0)
    exact = losses.gaussian_kl(mean, 2 * np.log(sigma) * np.ones_like(mean)).numpy()
    for half in (slice(500), slice(500, None)):
        assert estimate[half].mean() == pytest.approx(exact[half].mean(), abs=0.12)
    assert exact[0] - exact[-1] > 0.5


def test_pair_loss_by_hand():
    found = pair_loss(np.array([0.0, 2.0, -3.0]), np.array([0.0, -1.0, 4.0]))
    by_hand = -np.log(1 / (1 + np.exp([0.0, -2.0, 3.0]))) - np.log(1 - 1 / (1 + np.exp([0.0, 1.0, -4.0])))
    np.testing.assert_allclose(found, by_hand, rtol=1e-6)
    assert float(found[0]) == pytest.approx(math.log(4))


def test_the_noisy_convolution_by_hand():
    keras.utils.set_random_seed(0)
    layer, rng = NoisyConvolution(kernel_size=3, dropout=0.0), np.random.default_rng(0)
    states, first, second = rng.normal(size=(3, 2, 5, DIM)).astype(np.float32)
    found = layer(states, [first, second])
    weights = {
        re.sub(".*/", "", v.path.removesuffix(f"/{v.name}")) + f" {v.name}": v.numpy() for v in layer.weights
    }

    def linear(x, name):
        return x @ weights[f"{name} kernel"] + weights[f"{name} bias"]

    noise = [np.tanh(each @ weights["noise kernel"]) for each in (first, second)]
    expanded = softplus(linear(states + noise[0], "expand")) + noise[1]
    padded = np.pad(expanded, [(0, 0), (2, 0), (0, 0)])
    kernel = weights["convolve kernel"]  # [places, D, 2 D], oldest place first
    convolved = sum(padded[:, k : k + 5] @ kernel[k] for k in range(3)) + weights["convolve bias"]
    local = softplus(linear(softplus(convolved), "contract"))
    np.testing.assert_allclose(found, linear(states + local, "last"), atol=1e-5)
    np.testing.assert_allclose(layer(states), layer(states, [0 * first, 0 * second]), atol=1e-6)


def test_rotation_moves_padding_behind_the_items_and_back():
    padding = np.array([2, 1, 0])
    there = rotated(X, padding)
    np.testing.assert_array_equal(there, [[1, 2, 0, 0], [3, 4, 5, 0], [2, 4, 6, 7]])
    np.testing.assert_array_equal(rotated(there, -padding), X)
    deep = np.stack([X, 10 * X], axis=-1)
    np.testing.assert_array_equal(rotated(deep, padding)[..., 1], 10 * np.asarray(there))
