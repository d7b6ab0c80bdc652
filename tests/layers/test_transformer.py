"""What the Transformer may look at: never the future, never padding."""

import itertools

import numpy as np
import pytest
from keras import ops

from metasgcl_tf.layers.transformer import Transformer, visible_positions

LENGTH, DIM = 6, 8
every_kind = pytest.mark.parametrize(
    ("norm_first", "relative_positions"), list(itertools.product([False, True], repeat=2))
)


def random_transformer(norm_first=False, relative_positions=True, max_length=LENGTH):
    """Two blocks whose weights are all large enough to matter, distance bias and norms included."""
    transformer = Transformer(
        2,
        num_heads=2,
        max_length=max_length,
        dropout=0.5,
        norm_first=norm_first,
        relative_positions=relative_positions,
    )
    transformer.build((None, None, DIM))
    rng = np.random.default_rng(0)
    for weight in transformer.weights:
        if "seed" not in weight.path:
            weight.assign(weight + rng.normal(scale=0.5, size=weight.shape))
    return transformer


def states(*shape):
    return np.random.default_rng(1).normal(size=shape).astype(np.float32)


def test_visible_positions_by_hand():
    visible = ops.convert_to_numpy(visible_positions(np.array([[0, 7, 8]])))
    assert visible.shape == (1, 1, 3, 3)
    assert visible[0, 0].tolist() == [[False, False, False], [False, True, False], [False, True, True]]


@every_kind
def test_the_future_never_changes_earlier_states(norm_first, relative_positions):
    transformer = random_transformer(norm_first, relative_positions)
    visible = visible_positions(np.ones((1, LENGTH), int))
    before = states(1, LENGTH, DIM)
    after = before.copy()
    after[:, 3] += states(DIM)
    one, other = (ops.convert_to_numpy(transformer(x, visible)) for x in (before, after))
    np.testing.assert_allclose(other[:, :3], one[:, :3], atol=1e-6)
    for position in range(3, LENGTH):  # later ones see it
        assert np.abs(other[:, position] - one[:, position]).max() > 1e-3


@every_kind
def test_the_content_of_padding_never_matters(norm_first, relative_positions):
    transformer = random_transformer(norm_first, relative_positions)
    visible = visible_positions(np.array([[0, 0, 1, 2, 3, 4]]))
    before = states(1, LENGTH, DIM)
    after = before.copy()
    after[:, :2] = 100.0
    one, other = (ops.convert_to_numpy(transformer(x, visible)) for x in (before, after))
    np.testing.assert_allclose(other[:, 2:], one[:, 2:], atol=1e-6)


@every_kind
def test_more_padding_never_matters(norm_first, relative_positions):
    transformer = random_transformer(norm_first, relative_positions)
    short = states(1, 3, DIM)
    longer = np.concatenate([states(1, 3, DIM), short], axis=1)
    one = transformer(short, visible_positions(np.array([[1, 2, 3]])))
    other = transformer(longer, visible_positions(np.array([[0, 0, 0, 1, 2, 3]])))
    np.testing.assert_allclose(other[:, 3:], one, atol=1e-5)


@every_kind
def test_a_row_of_padding_is_finite(norm_first, relative_positions):
    transformer = random_transformer(norm_first, relative_positions)
    output = transformer(states(2, LENGTH, DIM), visible_positions(np.zeros((2, LENGTH), int)))
    assert np.isfinite(output).all()


def test_without_positions_the_order_of_older_items_does_not_matter_and_with_them_it_does():
    visible, x = visible_positions(np.ones((1, 3), int)), states(1, 3, DIM)
    swapped = x[:, [1, 0, 2]]
    for relative_positions in (False, True):
        # One block: in the second, the swapped states themselves have seen different things.
        block = random_transformer(relative_positions=relative_positions).blocks[0]
        newest, newest_swapped = (ops.convert_to_numpy(block(s, visible))[:, -1] for s in (x, swapped))
        assert np.allclose(newest, newest_swapped, atol=1e-5) is not relative_positions


def test_dropout_acts_in_training_only():
    transformer = random_transformer()
    x, visible = states(1, LENGTH, DIM), visible_positions(np.ones((1, LENGTH), int))
    np.testing.assert_array_equal(transformer(x, visible), transformer(x, visible))
    one, other = (ops.convert_to_numpy(transformer(x, visible, training=True)) for _ in range(2))
    assert np.abs(one - other).max() > 1e-3


def test_attention_by_hand():
    """One head with identity maps: the softmax of scaled dot products plus the bias of the distance."""
    attention = random_transformer().blocks[0].attention
    attention.num_heads, attention.distance_bias = 1, np.array([[0.0, 2.0, -1.0]], np.float32)
    projections = attention.query_key_value, attention.output_projection
    for layer, kernel in zip(projections, (np.tile(np.eye(DIM), 3), np.eye(DIM)), strict=True):
        layer.set_weights([kernel, np.zeros(kernel.shape[1])])
    x = states(1, 3, DIM)
    output = attention(x, visible_positions(np.array([[1, 1, 1]])))
    for i in range(3):
        logits = [x[0, i] @ x[0, j] / np.sqrt(DIM) + [0, 2, -1][i - j] for j in range(i + 1)]
        weights = np.exp(logits) / np.exp(logits).sum()
        np.testing.assert_allclose(output[0, i], weights @ x[0, : i + 1], rtol=1e-4, atol=1e-5)
