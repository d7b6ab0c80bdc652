"""Gaussian latent variables: the mean, one or two spreads, and draws from them (paper, eq. 11-15)."""

from typing import Any, ClassVar

import keras
from keras import ops

from metasgcl_tf.layers.linear import Linear

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class MeanAndSpread(keras.layers.Layer):
    """Two linear maps of the encoder output: mean and log-variance.

    The spread is given as log-variance, sigma = exp(log_variance / 2). Its bias starts at -4, that is
    sigma = .14: with sigma = 1 the noise would drown the mean before anything is learned.

    Args:
        residual_mean: `mean = F + Enc_mu(F)`; `False` is the papers' literal `mean = Enc_mu(F)`.
    """

    biases: ClassVar[dict[str, float]] = {"mean": 0.0, "log_variance": -4.0}  # of each map, at the start

    def __init__(self, residual_mean: bool = True, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.residual_mean = residual_mean

    def build(self, input_shape: tuple) -> None:
        """Creates the maps `[D, D]`."""
        for name, bias in self.biases.items():
            start = keras.initializers.Constant(bias)
            head = Linear(input_shape[-1], name=name, bias_initializer=start)
            head.build(input_shape)
            setattr(self, name, head)

    def call(self, states: Tensor) -> tuple[Tensor, ...]:
        """`[..., D]` to the mean and each log-variance, all `[..., D]`."""
        mean, *spreads = (getattr(self, name)(states) for name in self.biases)
        return states + mean if self.residual_mean else mean, *spreads


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class GaussianHeads(MeanAndSpread):
    """Three linear maps of the encoder output: mean, log-variance and meta log-variance.

    The one named meta_* is the meta encoder's, Enc_sigma'.

    Args:
        residual_mean: see `MeanAndSpread`.
    """

    biases: ClassVar[dict[str, float]] = MeanAndSpread.biases | {"meta_log_variance": -4.0}


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class GaussianSample(keras.layers.Layer):
    """Draws `mean + sigma * eps` with fresh standard normal eps at every call (paper, eq. 12 and 15).

    Args:
        seed: of the noise; by default taken from Keras' global seed.
    """

    def __init__(self, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(seed)
        self.built = True  # or `fit` on JAX, in search of what to build, takes a pass from the data

    def call(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """`[..., D]` mean and log-variance to a draw of the same shape."""
        noise = keras.random.normal(ops.shape(mean), dtype=mean.dtype, seed=self.seed_generator)
        return mean + ops.exp(0.5 * log_variance) * noise
