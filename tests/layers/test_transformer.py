"""What the Transformer may look at: never the future, never padding."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from metasgcl_tf.layers.transformer import SelfAttention, Transformer, gelu, visible_positions

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


@every_kind
@pytest.mark.parametrize("newest", [1, 3, LENGTH])
def test_the_newest_positions_alone_are_the_end_of_all_and_so_are_their_gradients(
    norm_first, relative_positions, newest
):
    transformer = random_transformer(norm_first, relative_positions)
    visible = visible_positions(np.array([[1, 2, 3, 4, 5, 6], [0, 0, 1, 2, 3, 4]]))
    x, upstream = tf.constant(states(2, LENGTH, DIM)), states(2, newest, DIM)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        whole, short = transformer(x, visible), transformer(x, visible, newest=newest)
        from_whole, from_short = (tf.reduce_sum(y * upstream) for y in (whole[:, -newest:], short))
    np.testing.assert_allclose(short, whole[:, -newest:], rtol=1e-4, atol=1e-5)
    sources = [x, *(v.value for v in transformer.trainable_variables)]
    for found, expected in zip(*(tape.gradient(t, sources) for t in (from_short, from_whole)), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)
        assert np.any(expected)


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


def test_dropout_in_attention_drops_weights_and_keeps_their_mean():
    """With values of 1 the output is the sum of the weights that are left, each twice as large."""
    attention = SelfAttention(1, LENGTH, dropout=0.5, relative_positions=False)
    attention.build((None, LENGTH, DIM))
    values = np.concatenate([np.zeros(2 * DIM), np.ones(DIM)])
    attention.query_key_value.set_weights([np.zeros((DIM, 3 * DIM)), values])
    attention.output_projection.set_weights([np.eye(DIM), np.zeros(DIM)])
    x, visible = states(500, 2, DIM), visible_positions(np.ones((500, 2), int))
    output = ops.convert_to_numpy(attention(x, visible, training=True))[..., 0]
    assert set(np.round(output[:, 0], 4)) == {0, 2} and set(np.round(output[:, 1], 4)) == {0, 1, 2}
    assert abs(output.mean() - 1) < 0.1
    np.testing.assert_allclose(attention(x, visible), np.ones((500, 2, DIM)), rtol=1e-5)


@pytest.mark.parametrize("compiled", [False, True])
def test_the_backward_pass_drops_what_the_forward_pass_dropped(compiled):
    attention = SelfAttention(2, LENGTH, dropout=0.5, relative_positions=True)
    attention.build((None, LENGTH, DIM))
    x, upstream = states(3, LENGTH, DIM), states(3, LENGTH, DIM)
    visible = visible_positions(np.ones((3, LENGTH), int))

    def output_and_gradient(values):
        """Of the output in the values, which it is linear in: its product with them is the output again."""
        kernel, bias = attention.query_key_value.kernel, attention.query_key_value.bias
        kernel.assign(tf.concat([kernel[:, : 2 * DIM], values], axis=1))
        bias.assign(tf.zeros_like(bias))
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(attention(x, visible, training=True) * upstream)
        return total, tape.gradient(total, kernel.value)[:, 2 * DIM :]

    step = tf.function(output_and_gradient) if compiled else output_and_gradient
    values = tf.constant(states(DIM, DIM))
    for _ in range(3):
        total, gradient = step(values)
        np.testing.assert_allclose(np.sum(gradient * values), total, rtol=1e-3)


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


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gelu_and_its_gradient_are_those_of_keras(dtype):
    x = tf.cast(np.linspace(-6, 6, 49), dtype)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        ours, theirs = gelu(x), keras.activations.gelu(tf.cast(x, "float32"))
    precision = {"rtol": 0.02, "atol": 0.01} if dtype == "bfloat16" else {"rtol": 1e-4, "atol": 1e-6}
    assert ours.dtype == dtype
    for value, expected in ((ours, theirs), (tape.gradient(ours, x), tape.gradient(theirs, x))):
        np.testing.assert_allclose(tf.cast(value, "float32"), tf.cast(expected, "float32"), **precision)
