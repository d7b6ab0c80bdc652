"""A linear map of the last axis, as one product of two matrices."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.initializers import small_normal

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class Linear(keras.layers.Dense):
    """`keras.layers.Dense` that starts at N(0, .02) and lays all leading axes out as one.

    Keras multiplies a tensor of three axes by a chain of a dozen small operations, which in a model of narrow
    layers take longer than the product, and which keep TensorFlow from adding the bias within the product.

    Args:
        units: size of the output's last axis.
        **kwargs: of `keras.layers.Dense`.
    """

    def __init__(self, units: int, **kwargs: Any) -> None:
        kwargs.setdefault("kernel_initializer", small_normal())
        super().__init__(units, **kwargs)

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """`[..., d]` to `[..., units]`."""
        mapped = self._map(inputs, self.kernel, self.bias)
        return mapped if self.activation is None else self.activation(mapped)

    @staticmethod
    def _map(inputs: Tensor, kernel: Tensor, bias: Tensor) -> Tensor:
        flat = ops.reshape(inputs, (-1, inputs.shape[-1]))
        mapped = ops.add(ops.matmul(flat, kernel), bias)
        return ops.reshape(mapped, (*ops.shape(inputs)[:-1], kernel.shape[-1]))

    def parts(self, sizes: Sequence[int]) -> list[Callable[[Tensor], Tensor]]:
        """This map as several, each to so many of its outputs, in order."""
        ends = list(itertools.accumulate(sizes))
        spans = zip([0, *ends[:-1]], ends, strict=True)

        def part(begin: int, end: int) -> Callable[[Tensor], Tensor]:
            kernel, bias = self.kernel[:, begin:end], self.bias[begin:end]
            return lambda inputs: self._map(inputs, kernel, bias)

        return [part(*span) for span in spans]
