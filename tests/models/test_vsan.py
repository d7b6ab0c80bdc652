"""The loss of VSAN by hand, and what its latent does."""

import keras
import numpy as np
import pytest
from keras import ops

from metasgcl_tf.models import VSAN

NUM_ITEMS, LENGTH, DIM = 7, 4, 4
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
Y = np.array([[0, 0, 2, 3], [0, 4, 5, 1], [0, 0, 0, 1]], np.int32)  # the third row: only its last counts


def build(**options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "num_layers": 1, "num_heads": 2, "dropout": 0.0, "kl_warmup_steps": 0}
    model = VSAN(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return model


def by_hand(model, outputs, y, weights):
    """Cross-entropy and KL, target by target in numpy."""
    table = model.embedding.table.numpy()[1:].astype(np.float64)
    out = {name: tensor.numpy().astype(np.float64) for name, tensor in outputs.items()}
    cross_entropy = kl = 0.0
    for row, place in np.argwhere(y):
        at, weight = (row, place - y.shape[1]), weights[row, place]
        logits = table @ out["states"][at]
        cross_entropy -= weight * (logits[y[row, place] - 1] - np.logaddexp.reduce(logits))
        mean, log_variance = out["mean"][at], out["log_variance"][at]
        kl += weight * 0.5 * (mean**2 + np.exp(log_variance) - 1 - log_variance).sum()
    return cross_entropy, kl


@pytest.mark.parametrize("newest", [LENGTH, 1], ids=["all positions", "newest position"])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_the_cross_entropy_and_the_weighted_kl(newest, weighted):
    model, y = build(kl_weight=0.3), Y[:, -newest:]
    # Weights where there is no target must not count.
    given = np.random.default_rng(2).uniform(0.5, 2, y.shape).astype(np.float32) if weighted else None
    outputs = model({"item_ids": X}, training=True)
    loss = float(model.compute_loss({"item_ids": X}, y, outputs, given))
    weights = given if weighted else np.full(y.shape, 1 / (y > 0).sum())
    cross_entropy, kl = by_hand(model, outputs, y, weights)
    assert min(cross_entropy, kl) > 0.1
    assert loss == pytest.approx(cross_entropy + 0.3 * kl, rel=1e-5)
    total = (weights * (y > 0)).sum()
    sigma = np.exp(0.5 * outputs["log_variance"].numpy())[:, -newest:].mean(-1)
    expected = {
        "loss": loss,
        "reconstruction_loss": cross_entropy,
        "kl": kl,
        "kl_weight": 0.3,
        "kl_per_dim": kl / total / DIM,
        "mean_sigma": (weights * (y > 0) * sigma).sum() / total,
    }
    reported = {name: float(metric.result()) for name, metric in model.loss_metrics.items()}
    assert reported == pytest.approx(expected, rel=1e-4)


def test_the_decoder_turns_the_draw_in_training_and_the_mean_at_serving_into_states():
    model = build()
    model.sample = lambda mean, log_variance: mean + 2.0 * ops.exp(0.5 * log_variance)  # eps = 2
    visible = ops.logical_and(np.tril(np.ones((LENGTH, LENGTH), bool)), (X != 0)[:, None, None, :])
    training, serving = (model({"item_ids": X}, training=training) for training in (True, False))
    draw = training["mean"] + 2.0 * ops.exp(0.5 * training["log_variance"])
    np.testing.assert_allclose(training["states"], model.decoder(draw, visible), atol=1e-5)
    np.testing.assert_allclose(serving["states"], model.decoder(serving["mean"], visible), atol=1e-5)
    assert np.abs(training["states"] - serving["states"]).max() > 1e-2


@pytest.mark.parametrize("residual_mean", [True, False])
def test_the_latent_starts_near_the_encoder_output_or_0_with_a_small_spread(residual_mean):
    keras.utils.set_random_seed(0)
    model = VSAN(NUM_ITEMS, LENGTH, hidden_dim=DIM, residual_mean=residual_mean)
    visible = ops.logical_and(np.tril(np.ones((LENGTH, LENGTH), bool)), (X != 0)[:, None, None, :])
    encoded, outputs = model.encode(X, visible, training=False), model({"item_ids": X})
    np.testing.assert_allclose(outputs["mean"], encoded if residual_mean else 0 * encoded, atol=0.2)
    np.testing.assert_allclose(np.exp(0.5 * outputs["log_variance"]), np.exp(-2), rtol=0.1)
