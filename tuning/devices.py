"""One trial, one GPU."""

import os

import tensorflow as tf


def use_one_gpu() -> None:
    """Keeps this process to the first GPU it sees, of whose memory it takes what it needs.

    Without a GPU it changes nothing. Comes before anything is computed.
    """
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # JAX's word for the same
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        tf.config.set_visible_devices(gpus[:1], "GPU")
        tf.config.experimental.set_memory_growth(gpus[0], True)


def computes_bfloat16() -> bool:
    """Whether the GPU has units for bfloat16 (compute capability 8.0 or newer), so that it helps."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return False
    capability = tf.config.experimental.get_device_details(gpus[0]).get("compute_capability")
    return capability is not None and tuple(capability) >= (8, 0)
