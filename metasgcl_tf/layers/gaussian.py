"""Gaussian latent variables: the mean, two spreads, and draws from them (paper, eq. 11-15)."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.linear import Linear

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class GaussianHeads(keras.layers.Layer):
    """Three linear maps of the encoder output: mean, log-variance and meta log-variance.

    The spreads are given as log-variance, sigma = exp(log_variance / 2). Their bias starts at -4, that is
    sigma = .14: with sigma = 1 the noise would drown the mean before anything is learned.

    Args:
        residual_mean: `mean = F + Enc_mu(F)`; `False` is the paper's literal `mean = Enc_mu(F)`.
    """

    def __init__(self, residual_mean: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.residual_mean = residual_mean

    def build(self, input_shape: tuple) -> None:
        """Creates the three maps `[D, D]`; those named meta_* are the meta encoder's, Enc_sigma'."""
        hidden_dim = input_shape[-1]

        def head(name: str, bias: float) -> Linear:
            return Linear(hidden_dim, name=name, bias_initializer=keras.initializers.Constant(bias))

        self.mean = head("mean", 0.0)
        self.log_variance = head("log_variance", -4.0)
        self.meta_log_variance = head("meta_log_variance", -4.0)
        for layer in (self.mean, self.log_variance, self.meta_log_variance):
            layer.build(input_shape)

    def call(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """`[..., D]` to mean, log-variance and meta log-variance, each `[..., D]`."""
        mean = self.mean(states)
        if self.residual_mean:
            mean = states + mean
        return mean, self.log_variance(states), self.meta_log_variance(states)


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class GaussianSample(keras.layers.Layer):
    """Draws `mean + sigma * eps` with fresh standard normal eps at every call (paper, eq. 12 and 15).

    Args:
        seed: of the noise; by default taken from Keras' global seed.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)

    def call(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """`[..., D]` mean and log-variance to a draw of the same shape."""
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise
