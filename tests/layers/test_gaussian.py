"""The Gaussian heads and draws from them."""

import numpy as np
import pytest
from keras import ops

from metasgcl_tf.layers.gaussian import GaussianHeads, GaussianSample


def test_draws_have_the_mean_and_the_spread_they_were_asked_for():
    mean = np.tile(np.array([3.0, -1.0], np.float32), (40_000, 1))
    log_variance = np.tile(np.log(np.array([4.0, 0.25], np.float32)), (40_000, 1))
    draws = GaussianSample(seed=0)(mean, log_variance).numpy()
    # Standard errors are 0.01 and 0.0025 for the mean, 0.007 and 0.002 for the spread.
    np.testing.assert_allclose(draws.mean(0), [3, -1], atol=0.05)
    np.testing.assert_allclose(draws.std(0), [2, 0.5], rtol=0.02)
    standard = (draws - draws.mean(0)) / draws.std(0)
    assert abs((standard[:, 0] * standard[:, 1]).mean()) < 0.03  # independent
    assert abs((np.abs(standard) < 1).mean() - 0.6827) < 0.01  # normal, not just of that spread


def test_every_draw_is_fresh_and_a_seed_repeats_the_series():
    one, other = GaussianSample(seed=5), GaussianSample(seed=5)
    zeros = np.zeros((2, 3), np.float32)
    first, second = one(zeros, zeros), one(zeros, zeros)
    assert np.abs(first - second).min() > 0
    np.testing.assert_array_equal(other(zeros, zeros), first)
    np.testing.assert_array_equal(other(zeros, zeros), second)


def test_a_vanishing_spread_leaves_the_mean():
    mean = np.array([[1.0, 2.0]], np.float32)
    np.testing.assert_array_equal(GaussianSample()(mean, np.full_like(mean, -200.0)), mean)


@pytest.mark.parametrize("residual_mean", [True, False])
def test_residual_mean_adds_the_input(residual_mean):
    heads = GaussianHeads(residual_mean)
    states = np.random.default_rng(0).normal(size=(2, 3, 4)).astype(np.float32)
    mean, log_variance, meta_log_variance = heads(states)
    linear = states @ heads.mean.kernel.numpy()
    np.testing.assert_allclose(mean, linear + states if residual_mean else linear, atol=1e-5)
    for head, output in ((heads.log_variance, log_variance), (heads.meta_log_variance, meta_log_variance)):
        np.testing.assert_allclose(output, states @ head.kernel.numpy() - 4, rtol=1e-4)
    assert np.abs(ops.subtract(log_variance, meta_log_variance)).max() > 1e-3  # two heads, not one
