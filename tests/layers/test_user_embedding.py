"""Who has which vector."""

import keras
import numpy as np
import pytest

from metasgcl_tf.errors import InputError
from metasgcl_tf.layers.user_embedding import UserEmbedding


@pytest.fixture
def users():
    layer = UserEmbedding(3, 2)
    layer.table.assign([[9, 9], [1, 10], [2, 20], [6, 60]])  # row 0 is nobody's
    return layer


def test_known_users_have_their_row_and_unknown_ones_the_mean(users):
    found = users(np.array([2, 0, -1, 3, 0], np.int32)).numpy()
    assert found.tolist() == [[6, 60], [1, 10], [3, 30], [3, 30], [1, 10]]
    assert users().numpy().tolist() == [3, 30]
    assert users(np.array([2, 1], np.int32), training=True).numpy().tolist() == [[6, 60], [2, 20]]


def test_without_any_user_the_mean_is_0():
    layer = UserEmbedding(0, 2)
    assert layer().numpy().tolist() == [0, 0]
    assert layer(np.array([0, 5], np.int32)).numpy().tolist() == [[0, 0]] * 2


def test_resized_it_has_one_table_that_starts_anew(users):
    users.resize(5)
    assert [v.shape for v in users.variables] == [(6, 2)]
    assert 0 < np.abs(users.table.numpy()).max() < 0.2
    np.testing.assert_allclose(users(), users.table.numpy()[1:].mean(axis=0), rtol=1e-5)


def test_a_mean_of_many_is_precise_beside_half_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = UserEmbedding(1000, 1)
    finally:
        keras.config.set_dtype_policy("float32")
    layer.table.assign(np.arange(1001)[:, None])
    assert layer().numpy().tolist() == [500.5]


def test_there_cannot_be_fewer_users_than_none():
    with pytest.raises(InputError, match=r"^`num_users` should be 0 or more\. Received: `num_users` = -1\.$"):
        UserEmbedding(-1, 2)
