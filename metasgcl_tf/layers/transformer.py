"""Causal Transformer blocks over left-padded sequences (paper, eq. 5-10)."""

import math
from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.linear import Linear

Tensor = Any

LONG = 128  # histories from which on memory, more than time, decides what batch is possible


def visible_positions(item_ids: Tensor) -> Tensor:
    """Which positions each position may attend to: itself and older ones, never padding.

    Args:
        item_ids: `[B, L]` int, 0 is padding.

    Returns:
        `[B, 1, L, L]` bool, `[b, 0, i, j]` true where i may look at j.
    """
    steps = ops.arange(ops.shape(item_ids)[1])
    causal = ops.greater_equal(steps[:, None], steps[None, :])
    real = ops.not_equal(item_ids, 0)
    return ops.logical_and(causal[None, None], real[:, None, None, :])


@keras.saving.register_keras_serializable(package="metasgcl_tf")
def gelu(x: Tensor) -> Tensor:
    """Exact GELU, `x * Phi(x)`, whose backward pass keeps `x` alone, not four tensors of its size."""

    @ops.custom_gradient
    def activation(x: Tensor) -> tuple[Tensor, Any]:
        def gradient(upstream: Tensor) -> Tensor:
            share = 0.5 * (1.0 + ops.erf(x * 0.5**0.5))
            density = ops.exp(-0.5 * ops.square(x)) * (2 * math.pi) ** -0.5
            return upstream * (share + x * density)

        # Multiplied in this order, the largest tensors of an evaluation are passed over once less.
        return (0.5 * x) * (1.0 + ops.erf(x * 0.5**0.5)), gradient

    return activation(x)


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class SelfAttention(keras.layers.Layer):
    """Multi-head self-attention with an optional learned bias for each head and distance.

    The bias depends on i - j alone, so it means the same at every place of the window, in training and
    at serving.

    Args:
        num_heads: H; must divide the last axis of the input.
        max_length: longest window, the number of distances.
        dropout: rate on the attention weights.
        relative_positions: learn the bias.
    """

    def __init__(
        self, num_heads: int, max_length: int, dropout: float, relative_positions: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.num_heads, self.max_length, self.dropout = num_heads, max_length, dropout
        self.relative_positions = relative_positions
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape: tuple) -> None:
        """Creates the projections `[D, 3D]` and `[D, D]` and the distance bias `[H, L]`."""
        hidden_dim = input_shape[-1]
        self.query_key_value = Linear(3 * hidden_dim)
        self.query_key_value.build(input_shape)
        self.output_projection = Linear(hidden_dim)
        self.output_projection.build(input_shape)
        if self.relative_positions:
            self.distance_bias = self.add_weight(
                name="distance_bias", shape=(self.num_heads, self.max_length), initializer="zeros"
            )

    def split_heads(self, mixed: Tensor, count: int) -> list[Tensor]:
        """`[B, L, count * D]` to `count` tensors `[B, H, L, D / H]`."""
        size = mixed.shape[-1] // (count * self.num_heads)
        heads = ops.reshape(mixed, (-1, ops.shape(mixed)[1], count * self.num_heads, size))
        return ops.split(ops.transpose(heads, (0, 2, 1, 3)), count, axis=1)

    def call(
        self, states: Tensor, visible: Tensor, training: bool = False, newest: int | None = None
    ) -> Tensor:
        """Attends within `[B, L, D]` states where `visible` (`[B, 1, L, L]`) allows.

        Returns `[B, L, D]`, or with `newest` the answers of that many newest positions only.
        """
        length, hidden_dim = ops.shape(states)[1], states.shape[-1]
        first = 0 if newest is None else length - newest
        if newest is None:
            query, key, value = self.split_heads(self.query_key_value(states), 3)
        else:  # nobody asks for the other positions
            of_query, of_key_value = self.query_key_value.parts((hidden_dim, 2 * hidden_dim))
            (query,) = self.split_heads(of_query(states[:, first:]), 1)
            key, value = self.split_heads(of_key_value(states), 2)
        query = query * (query.shape[-1] ** -0.5)
        bias = ops.zeros((), query.dtype)
        if self.relative_positions:
            steps = ops.arange(length)
            distances = ops.maximum(steps[first:, None] - steps[None, :], 0)
            bias = ops.take(self.distance_bias, distances, axis=1)
        visible = visible[:, :, first:]
        keep = None
        if training and self.dropout:
            shape = (ops.shape(query)[0], self.num_heads, length - first, length)
            keep = keras.random.uniform(shape, seed=self.seed_generator) >= self.dropout

        def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
            logits = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) + bias
            # Finite, so that a padding row (nothing visible) averages instead of turning into NaN.
            logits = ops.where(visible, ops.cast(logits, "float32"), -1e9)
            weights = ops.cast(ops.softmax(logits), value.dtype)
            if keep is not None:
                weights = ops.where(keep, weights / (1 - self.dropout), 0)
            return ops.matmul(weights, value)

        # The [B, H, L, L] weights are the largest tensors of a model with long histories, where the backward
        # pass makes them once more instead of keeping them.
        if self.max_length >= LONG:
            attend = keras.remat(attend)
        attended = attend(query, key, value, bias)
        attended = ops.reshape(ops.transpose(attended, (0, 2, 1, 3)), (-1, length - first, hidden_dim))
        return self.output_projection(attended)


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class TransformerBlock(keras.layers.Layer):
    """Self-attention and a position-wise feed-forward net, each with residual, layer norm and dropout.

    Args:
        num_heads: attention heads.
        max_length: longest window.
        dropout: rate on attention weights and on both residual branches.
        norm_first: layer norm before each branch (pre-norm) instead of after the sum (post-norm).
        relative_positions: see `SelfAttention`.
    """

    def __init__(
        self,
        num_heads: int,
        max_length: int,
        dropout: float,
        norm_first: bool = False,
        relative_positions: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.norm_first = norm_first
        self.attention = SelfAttention(num_heads, max_length, dropout, relative_positions)
        self.attention_norm = keras.layers.LayerNormalization(epsilon=1e-6)
        self.feed_forward_norm = keras.layers.LayerNormalization(epsilon=1e-6)
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, input_shape: tuple) -> None:
        """Builds the branches for `[B, L, D]`; the feed-forward net is 4 D wide inside."""
        hidden_dim = input_shape[-1]
        self.expand = Linear(4 * hidden_dim, activation=gelu)
        self.contract = Linear(hidden_dim)
        self.expand.build(input_shape)
        self.contract.build((*input_shape[:-1], 4 * hidden_dim))
        for layer in (self.attention, self.attention_norm, self.feed_forward_norm):
            layer.build(input_shape)

    def call(
        self, states: Tensor, visible: Tensor, training: bool = False, newest: int | None = None
    ) -> Tensor:
        """`[B, L, D]` to `[B, L, D]`, or its `newest` positions; `visible` as in `visible_positions`."""

        def attend(x: Tensor) -> Tensor:
            attended = self.attention(x, visible, training=training, newest=newest)
            return self.dropout(attended, training=training)

        def own(x: Tensor) -> Tensor:
            return x if newest is None else x[:, -newest:]

        def feed_forward(x: Tensor) -> Tensor:
            return self.dropout(self.contract(self.expand(x)), training=training)

        if self.norm_first:
            states = own(states) + attend(self.attention_norm(states))
            return states + feed_forward(self.feed_forward_norm(states))
        states = self.attention_norm(own(states) + attend(states))
        return self.feed_forward_norm(states + feed_forward(states))


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class Transformer(keras.layers.Layer):
    """A stack of causal blocks; with `norm_first` it ends in the layer norm that pre-norm needs.

    Args:
        num_layers: blocks; with none, states stay as they are.
        **block: the arguments of `TransformerBlock`.
    """

    def __init__(self, num_layers: int, *, name: str | None = None, **block: Any) -> None:
        super().__init__(name=name)
        self.blocks = [TransformerBlock(**block) for _ in range(num_layers)]
        self.final_norm = (
            keras.layers.LayerNormalization(epsilon=1e-6)
            if block.get("norm_first")
            else keras.layers.Identity()
        )

    def build(self, input_shape: tuple) -> None:
        """Builds every block for `[B, L, D]`."""
        for layer in (*self.blocks, self.final_norm):
            layer.build(input_shape)

    def call(
        self, states: Tensor, visible: Tensor, training: bool = False, newest: int | None = None
    ) -> Tensor:
        """`[B, L, D]` to `[B, L, D]`; `visible` as in `visible_positions`.

        With `newest`, to the `[B, newest, D]` of the newest positions: the last block is spared the others.
        """
        for block in self.blocks[:-1]:
            states = block(states, visible, training=training)
        if self.blocks:
            states = self.blocks[-1](states, visible, training=training, newest=newest)
        elif newest is not None:
            states = states[:, -newest:]
        return self.final_norm(states)
