"""The item embedding and the scores tied to it."""

import numpy as np
import pytest

from metasgcl_tf.layers.embedding import ItemEmbedding


def embedding(**options):
    layer = ItemEmbedding(num_items=5, hidden_dim=4, max_length=6, **options)
    layer.build((None, None))
    return layer


def test_scores_are_dot_products_and_padding_never_wins():
    layer = embedding()
    states = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    scores = layer.score(states).numpy()
    assert scores.shape == (3, 6) and scores.dtype == np.float32
    assert (scores[:, 0] == -np.inf).all()
    np.testing.assert_allclose(scores[:, 1:], states @ layer.table.numpy()[1:].T, rtol=1e-5)


def test_embeddings_are_normalized_rows_of_the_table():
    layer = embedding()
    embedded = layer(np.array([[3, 1]])).numpy()[0]
    rows = layer.table.numpy()[[3, 1]]
    # The rows start so small that the layer norm's epsilon is felt.
    spread = np.sqrt(rows.var(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(embedded, (rows - rows.mean(-1, keepdims=True)) / spread, atol=1e-4)


def test_without_the_layer_norm_embeddings_are_rows_times_the_root_of_their_size():
    layer = embedding(input_norm=False)
    embedded = layer(np.array([[3, 1]])).numpy()[0]
    np.testing.assert_allclose(embedded, 2 * layer.table.numpy()[[3, 1]], rtol=1e-6)
    assert [v.name for v in layer.trainable_variables] == ["item_table"]


def test_learned_positions_are_counted_from_the_newest_item():
    layer = embedding(learned_positions=True)
    layer.positions.assign(np.random.default_rng(1).normal(size=(6, 4)))
    short, padded = layer(np.array([[2, 3]])), layer(np.array([[0, 0, 2, 3]]))
    np.testing.assert_allclose(padded[:, -2:], short, atol=1e-6)
    one, other = layer(np.array([[2, 2]])).numpy()[0]  # the same item at two places
    assert np.abs(one - other).max() > 0.1


@pytest.mark.parametrize("training", [False, True])
def test_dropout_acts_in_training_only(training):
    embedded = embedding(dropout=0.5)(np.full((20, 6), 3), training=training).numpy()
    assert (embedded == 0).any() == training
