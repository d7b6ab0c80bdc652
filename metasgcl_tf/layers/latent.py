"""A Gaussian latent variable with one spread, for the variational models beside Meta-SGCL."""

from typing import Any

import keras

from metasgcl_tf.layers.initializers import small_normal

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class MeanAndSpread(keras.layers.Layer):
    """Two linear maps of the encoder output: mean and log-variance.

    What `GaussianHeads` is with two spreads, and for the same reasons: sigma = exp(log_variance / 2), and the
    log-variance starts near -4, that is sigma = .14, lest noise drown the mean before anything is learned.

    Args:
        residual_mean: `mean = F + linear(F)` instead of `linear(F)`.
    """

    def __init__(self, residual_mean: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.residual_mean = residual_mean

    def build(self, input_shape: tuple) -> None:
        """Creates the two maps `[D, D]`."""
        low = keras.initializers.Constant(-4.0)
        dim = input_shape[-1]
        self.mean = keras.layers.Dense(dim, name="mean", kernel_initializer=small_normal())
        self.log_variance = keras.layers.Dense(
            dim, name="log_variance", kernel_initializer=small_normal(), bias_initializer=low
        )
        for layer in (self.mean, self.log_variance):
            layer.build(input_shape)

    def call(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """`[..., D]` to mean and log-variance, each `[..., D]`."""
        mean = self.mean(states)
        return states + mean if self.residual_mean else mean, self.log_variance(states)
