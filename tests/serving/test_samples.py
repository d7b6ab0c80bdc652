"""Draws from the posterior at serving: off unless asked for, and then what the model's own draws say."""

import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.serving import Loaded

HISTORY = [["i3", "i4", "i5"], ["", "", "nowhere"]]
DRAWS = 400


def test_off_there_is_no_noise(endpoints):
    once, again = (endpoints.ask(history=HISTORY, k=9) for _ in range(2))
    for name in once:
        np.testing.assert_array_equal(once[name], again[name])
    assert not once["spreads"].any()


def test_scores_are_means_over_the_draws_and_spreads_their_deviations(run, endpoints):
    answer = endpoints.ask(history=HISTORY, k=9, samples=DRAWS)
    dense = np.array([run.log.item_indices(HISTORY[0])])
    vectors = np.asarray(tf.function(run.model.drawn_vectors)({"item_ids": dense}, DRAWS))[:, 0]
    draws = vectors @ np.asarray(run.model.item_vectors()).T
    items = run.log.item_indices(answer["item_ids"][0].astype(str))
    deviations = draws.std(axis=0)[items]
    assert (deviations > 0.01).all()
    np.testing.assert_allclose(answer["spreads"][0], deviations, rtol=0.3)
    error = np.abs(answer["scores"][0] - draws.mean(axis=0)[items])
    assert (error < 6 * deviations / np.sqrt(DRAWS) * np.sqrt(2)).all()
    assert (np.diff(answer["scores"]) <= 0).all()
    assert not answer["spreads"][1].any()  # popularity has none


def test_each_request_draws_anew(endpoints):
    one, other = (endpoints.ask(history=HISTORY, k=9, samples=2)["spreads"][0] for _ in range(2))
    assert one.all() and (one != other).any()


def test_without_spread_every_draw_is_the_mean(run):
    dense = {"item_ids": np.array([run.log.item_indices(HISTORY[0])])}
    head = run.model.heads.log_variance
    kernel, bias = (np.array(value) for value in head.get_weights())
    try:
        head.set_weights([kernel * 0, bias * 0 - 60])
        drawn = np.asarray(run.model.drawn_vectors(dense, 3))
        expected = np.asarray(run.model.user_vectors(dense))
        np.testing.assert_allclose(drawn, np.tile(expected, (3, 1, 1)), atol=1e-5)
    finally:
        head.set_weights([kernel, bias])


@pytest.mark.parametrize("samples", [-1, 1001])
def test_an_impossible_number_of_samples_is_named(endpoints, samples):
    with pytest.raises(tf.errors.InvalidArgumentError, match="`samples` should be between 0 and 1000"):
        endpoints.ask(history=HISTORY, samples=samples)


def test_a_model_without_a_posterior_draws_nothing(counted_version):
    model = Loaded(counted_version)
    assert not model.ask(history=[[1]], k=3)["spreads"].any()
    with pytest.raises(tf.errors.InvalidArgumentError, match="`samples` should be between 0 and 0"):
        model.ask(history=[[1]], samples=1)
