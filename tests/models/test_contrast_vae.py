"""The two branches of ContrastVAE and their objective."""

import keras
import numpy as np
import pytest
from keras import ops

from metasgcl_tf.data import pipelines
from metasgcl_tf.models import ContrastVAE
from metasgcl_tf.optimizers import RowWiseAdam

NUM_ITEMS, LENGTH, DIM = 7, 4, 4
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
Y = np.array([[0, 0, 2, 3], [0, 4, 5, 1], [0, 0, 0, 1]], np.int32)  # the third row: only its last counts
OTHER = np.array([[0, 0, 2, 1], [0, 0, 4, 5], [2, 0, 6, 7]], np.int32)
PREDICTS = np.array([[0, 0, 0, 1], [0, 0, 1, 1], [1, 0, 1, 1]], bool)


def build(**options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "num_layers": 1, "num_heads": 2, "dropout": 0.0, "kl_warmup_steps": 0}
    model = ContrastVAE(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return model


def latent_of(model, item_ids):
    """Mean, log-variance and what may be attended to, of one branch."""
    real = (item_ids != 0)[:, None, None, :]
    visible = ops.logical_and(np.tril(np.ones((LENGTH, LENGTH), bool)), real)
    return *model.heads(model.encode(item_ids, visible, training=False)), visible


# ---- the branches -------------------------------------------------------------------------------


def test_the_first_branch_sees_the_true_history_and_the_second_the_changed_one():
    model = build(augmentation="data")
    model.second_view = lambda item_ids: (ops.convert_to_tensor(OTHER), ops.convert_to_tensor(PREDICTS))
    outputs = model({"item_ids": X}, training=True)
    for prefix, item_ids in (("", X), ("second_", OTHER)):
        mean, log_variance, _ = latent_of(model, item_ids)
        np.testing.assert_allclose(outputs[f"{prefix}mean"], mean, atol=1e-5)
        np.testing.assert_allclose(outputs[f"{prefix}log_variance"], log_variance, atol=1e-5)
    np.testing.assert_array_equal(outputs["second_predicts"], PREDICTS)
    assert np.abs(outputs["second_mean"] - outputs["mean"]).max() > 1e-2


def test_data_augmentation_changes_the_items_of_the_second_branch_in_training():
    model = build(augmentation="data")
    history = np.tile(np.arange(1, LENGTH + 1, dtype=np.int32), (50, 1))
    changed, predicts = map(np.asarray, model.second_view(history))
    assert (changed != history).any(1).mean() > 0.5 and predicts.any(1).mean() > 0.5
    training, serving = (model({"item_ids": history}, training=training) for training in (True, False))
    np.testing.assert_allclose(training["mean"], serving["mean"], atol=1e-5)
    assert (np.abs(training["second_mean"] - serving["mean"]) > 1e-2).any((1, 2)).mean() > 0.5


@pytest.mark.parametrize("augmentation", ["model", "variational"])
def test_without_data_augmentation_both_branches_see_the_history(augmentation):
    outputs = build(augmentation=augmentation)({"item_ids": X}, training=True)
    np.testing.assert_allclose(outputs["second_mean"], outputs["mean"], atol=1e-6)
    np.testing.assert_array_equal(outputs["second_predicts"], X != 0)


@pytest.mark.parametrize("augmentation", ["model", "variational"])
def test_the_branches_have_their_own_dropout(augmentation):
    outputs = build(augmentation=augmentation, dropout=0.5)({"item_ids": X}, training=True)
    assert np.abs(outputs["second_mean"] - outputs["mean"]).max() > 1e-2


@pytest.mark.parametrize(("augmentation", "scale"), [("model", 1.0), ("data", 1.0), ("variational", 0.25)])
def test_the_second_branch_decodes_a_draw_with_its_own_scale_of_noise(augmentation, scale):
    model = build(augmentation=augmentation)
    if augmentation == "variational":
        model.noise_logit.assign(-np.log(3.0))  # sigmoid: 1 / 4
    model.second_view = lambda item_ids: (item_ids, ops.not_equal(item_ids, 0))
    model.sample = lambda mean, log_variance: mean + 2.0 * ops.exp(0.5 * log_variance)  # eps = 2
    outputs = model({"item_ids": X}, training=True)
    mean, log_variance, visible = latent_of(model, X)
    for prefix, multiplier in (("", 1.0), ("second_", scale)):
        latent = mean + 2.0 * multiplier * ops.exp(0.5 * log_variance)
        np.testing.assert_allclose(outputs[f"{prefix}states"], model.decoder(latent, visible), atol=1e-5)
        real = (X != 0)[..., None]
        np.testing.assert_allclose(outputs[f"{prefix}history"], (latent.numpy() * real).sum(1), atol=1e-5)


def test_serving_is_the_first_branch_with_the_mean():
    model = build(augmentation="data")
    outputs = model({"item_ids": X})
    mean, _, visible = latent_of(model, X)
    np.testing.assert_allclose(outputs["states"], model.decoder(mean, visible), atol=1e-5)
    np.testing.assert_array_equal(outputs["second_states"], outputs["states"])


def test_the_noise_scale_starts_at_a_half_and_stays_below_1():
    keras.utils.set_random_seed(0)
    model = ContrastVAE(NUM_ITEMS, LENGTH, hidden_dim=DIM)
    assert float(model.noise_scale()) == 0.5
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    model.fit({"item_ids": X}, Y, epochs=5, verbose=0)
    assert 0.5 < float(model.noise_scale()) < 1  # its prior pulls it up


# ---- the objective ------------------------------------------------------------------------------


def info_nce_by_hand(history, second_history, temperature):
    both = np.concatenate([history, second_history]).astype(np.float64)
    size, terms = len(history), []
    for anchor, vector in enumerate(both):
        cosines = [vector @ other / np.linalg.norm(vector) / np.linalg.norm(other) for other in both]
        logits = np.array(cosines) / temperature
        positive = (anchor + size) % (2 * size)
        terms.append(np.logaddexp.reduce(np.delete(logits, anchor)) - logits[positive])
    return np.mean(terms)


def by_hand(model, outputs, y, weights):
    """The terms, target by target in numpy."""
    table = model.embedding.table.numpy()[1:].astype(np.float64)
    out = {name: tensor.numpy().astype(np.float64) for name, tensor in outputs.items()}
    terms = dict.fromkeys(["reconstruction_loss", "second_reconstruction_loss", "kl", "second_kl"], 0.0)
    for row, place in np.argwhere(y):
        at = (row, place - y.shape[1])
        for prefix, predicts in (("", 1.0), ("second_", out["second_predicts"][at])):
            weight = weights[row, place] * predicts
            logits = table @ out[f"{prefix}states"][at]
            log_probability = logits[y[row, place] - 1] - np.logaddexp.reduce(logits)
            terms[f"{prefix}reconstruction_loss"] -= weight * log_probability
            mean, log_variance = out[f"{prefix}mean"][at], out[f"{prefix}log_variance"][at]
            divergence = 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
            terms[f"{prefix}kl"] += weight * divergence
    contrast = info_nce_by_hand(out["history"], out["second_history"], model.temperature)
    return terms | {"contrastive_loss": contrast}


@pytest.mark.parametrize("newest", [LENGTH, 1], ids=["all positions", "newest position"])
@pytest.mark.parametrize("augmentation", ["data", "model", "variational"])
def test_the_loss_is_the_sum_of_its_terms(newest, augmentation):
    model = build(kl_weight=0.3, contrastive_weight=0.2, augmentation=augmentation)
    if augmentation == "data":
        model.second_view = lambda item_ids: (ops.convert_to_tensor(OTHER), ops.convert_to_tensor(PREDICTS))
    y = Y[:, -newest:]
    given = np.random.default_rng(2).uniform(0.5, 2, y.shape).astype(np.float32)
    outputs = model({"item_ids": X}, training=True)
    loss = float(model.compute_loss({"item_ids": X}, y, outputs, given))
    terms = by_hand(model, outputs, y, given)
    assert all(term > 1e-2 for term in terms.values())  # none is lost in the tolerance
    expected = terms["reconstruction_loss"] + terms["second_reconstruction_loss"]
    expected += 0.3 * (terms["kl"] + terms["second_kl"]) + 0.2 * terms["contrastive_loss"]
    if augmentation == "variational":
        a = 1 / (1 + np.exp(-float(model.noise_logit.numpy())))
        expected -= 0.5 * np.log(a) + 1.16145124 * a - 1.50204118 * a**2 + 0.58629921 * a**3
    assert loss == pytest.approx(expected, rel=1e-5)
    reported = {name: float(metric.result()) for name, metric in model.loss_metrics.items()}
    assert reported["loss"] == pytest.approx(loss)
    assert {name: reported[name] for name in terms} == pytest.approx(terms, rel=1e-4)
    total = (given * (y > 0)).sum()
    assert reported["kl_per_dim"] == pytest.approx(terms["kl"] / total / DIM, rel=1e-4)
    assert (reported["noise_scale"] == 1) == (augmentation != "variational")


EVERY_PREFIX = pytest.param(pipelines.every_prefix, marks=pytest.mark.slow)


@pytest.mark.parametrize("recipe", [pipelines.next_item, EVERY_PREFIX], ids=lambda r: r.__name__)
def test_it_is_fitted_with_data_augmentation_from_every_recipe(make_split, recipe):
    model = build(augmentation="data")
    model.compile(RowWiseAdam(0.1), run_eagerly=True)
    split = make_split([[1, 2, 3, 4, 5, 6, 7], [2, 3, 4, 5], [5, 6, 7]])
    batches = recipe(split, max_length=LENGTH, batch_size=8)
    losses = model.fit(batches, epochs=4, shuffle=False, verbose=0).history["loss"]
    assert losses[-1] < 0.9 * losses[0]
