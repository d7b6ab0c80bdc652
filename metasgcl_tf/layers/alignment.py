"""Moving left-padded sequences to the left end and back, for layers that know no padding."""

from typing import Any

from keras import ops

Tensor = Any


def rotated(values: Tensor, places: Tensor) -> Tensor:
    """Each row of `[B, L]` or `[B, L, D]` values moved to the left by `[B]` places, around the end."""
    length = ops.shape(values)[1]
    source = (ops.arange(length) + places[:, None]) % length
    if len(values.shape) == 3:
        source = source[..., None]
    return ops.take_along_axis(values, source, axis=1)
