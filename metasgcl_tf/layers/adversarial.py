"""Parts of ACVAE: an encoder of local structure with noise, and the two networks that judge its latent."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.initializers import small_normal
from metasgcl_tf.layers.transformer import gelu

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class NoisyConvolution(keras.layers.Layer):
    """Draws latents from recurrent states: an implicit posterior, without a density.

    A causal convolution over the states takes in local structure; noise goes through the network with them,

        z = W (h + contract(convolve(expand(h + n) + n'))),

    with n and n' the tanh of linear maps of standard normal noise. Softplus follows each of the three maps.

    Args:
        kernel_size: positions that the convolution looks at, the newest included.
        dropout: rate before the last map.
    """

    def __init__(self, kernel_size: int, dropout: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.kernel_size = kernel_size
        self.dropout = keras.layers.Dropout(dropout)

    def build(self, input_shape: tuple) -> None:
        """Creates the maps for `[B, L, D]`."""
        dim = input_shape[-1]
        wide = (*input_shape[:-1], 2 * dim)
        # Weights of N(0, .02) would let neither the noise nor its neighbours reach the latent.
        self.noise = keras.layers.Dense(dim, "tanh", use_bias=False, name="noise")
        self.expand = keras.layers.Dense(dim, "softplus", name="expand")
        self.convolve = keras.layers.Conv1D(
            2 * dim, self.kernel_size, padding="causal", activation="softplus", name="convolve"
        )
        self.contract = keras.layers.Dense(dim, "softplus", name="contract")
        self.last = keras.layers.Dense(dim, name="last")
        for layer in (self.noise, self.expand, self.convolve, self.last):
            layer.build(input_shape)
        self.contract.build(wide)

    def call(self, states: Tensor, noise: list[Tensor] | None = None, training: bool = False) -> Tensor:
        """`[B, L, D]` states and two tensors of noise of that shape to `[B, L, D]`; no noise is noise of 0.

        Nothing may stand before the first position of a history: its states would be looked at.
        """
        first, second = (self.noise(each) for each in noise) if noise else (0.0, 0.0)
        local = self.contract(self.convolve(self.expand(states + first) + second))
        return self.last(self.dropout(states + local, training=training))


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class PairScore(keras.layers.Layer):
    """A number T(x, z) for a pair of vectors: how much it looks like one kind of pair rather than another.

    A network of two hidden layers, 2 D wide. It sees z squared too, of which, and z, the logarithm of a
    Gaussian density is a linear function.
    """

    def build(self, input_shape: tuple) -> None:
        """Creates the maps for vectors of D numbers, `[..., D]`."""
        dim = input_shape[-1]

        def dense(units: int, inputs: int, activation: Any, name: str) -> keras.layers.Layer:
            layer = keras.layers.Dense(units, activation, kernel_initializer=small_normal(), name=name)
            layer.build((*input_shape[:-1], inputs))
            return layer

        self.first = dense(2 * dim, 3 * dim, gelu, "first")
        self.second = dense(2 * dim, 2 * dim, gelu, "second")
        self.last = dense(1, 2 * dim, None, "last")

    def call(self, x: Tensor, z: Tensor) -> Tensor:
        """`[..., D]` and `[..., D]` to `[...]` float32."""
        hidden = self.first(ops.concatenate([x, z, ops.square(z)], axis=-1))
        hidden = hidden + self.second(hidden)
        return ops.cast(self.last(hidden)[..., 0], "float32")


def pair_loss(scores: Tensor, other_scores: Tensor) -> Tensor:
    """Binary cross-entropy of telling pairs from other pairs by their scores; log 4 if they are all 0.

    The expected scores of the minimum are the logarithm of the ratio of the two densities; the negative of
    the minimum, plus log 4, is twice the Jensen-Shannon divergence between them.

    Args:
        scores: `[...]` T of pairs of one kind.
        other_scores: `[...]` T of as many pairs of the other kind.

    Returns:
        `[...]` float32, in nats.
    """
    return ops.softplus(-scores) + ops.softplus(other_scores)
