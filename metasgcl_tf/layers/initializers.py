"""How weights start."""

import keras


def small_normal() -> keras.initializers.Initializer:
    """N(0, .02), a new one for each weight: one Keras initializer draws the same numbers at every use."""
    return keras.initializers.RandomNormal(stddev=0.02)
