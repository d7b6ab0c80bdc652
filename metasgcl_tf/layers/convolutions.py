"""The convolutions of Caser: patterns of the newest few items, seen as an image of time by dimension."""

from typing import Any

import keras
from keras import ops

Tensor = Any


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class WindowConvolutions(keras.layers.Layer):
    """Horizontal and vertical filters over each window of M consecutive items (Tang and Wang 2018, eq. 3-8).

    A horizontal filter spans h = 1, ..., M items and all dimensions; its ReLU is max-pooled over the places
    within the window. A vertical filter is a weighted sum of the window's items, dimension by dimension.
    Positions share what their windows share: each filter passes over the sequence once.

    Args:
        window: M.
        num_horizontal: horizontal filters of each height.
        num_vertical: vertical filters.
    """

    def __init__(self, window: int, num_horizontal: int, num_vertical: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.window, self.num_vertical = window, num_vertical
        self.horizontal = [
            keras.layers.Conv1D(num_horizontal, height, activation="relu", name=f"height_{height}")
            for height in range(1, window + 1)
        ]

    def build(self, input_shape: tuple) -> None:
        """Creates the filters for `[B, T + M - 1, D]`."""
        for filters in self.horizontal:
            filters.build((None, self.window, input_shape[-1]))
        shape = (self.window, self.num_vertical)
        start = keras.initializers.GlorotUniform()
        self.vertical = self.add_weight(name="vertical", shape=shape, initializer=start)

    def call(self, items: Tensor) -> Tensor:
        """What the filters find in the windows that end at each of the T newest positions.

        Args:
            items: `[B, T + M - 1, D]`, oldest first.

        Returns:
            `[B, T, M * num_horizontal + num_vertical * D]`.
        """
        positions = ops.shape(items)[1] - self.window + 1

        def places(found: Tensor, count: int) -> list[Tensor]:
            """What stands at each of the first `count` places of every window, `[B, T, ...]` each."""
            return [found[:, place : place + positions] for place in range(count)]

        pooled = []
        for height, filters in enumerate(self.horizontal, start=1):
            pooled.append(ops.max(ops.stack(places(filters(items), self.window - height + 1)), axis=0))
        windows = ops.stack(places(items, self.window), axis=-1)
        summed = ops.matmul(windows, self.vertical)
        width = items.shape[-1] * self.num_vertical
        flat = ops.reshape(summed, (-1, positions, width))
        return ops.concatenate([*pooled, flat], axis=-1)
