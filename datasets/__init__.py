"""Data sets: the built-in synthetic log, TFDS builders, and `load` for any of them or a file."""

from metasgcl_tf.datasets.named import NAMES as NAMES
from metasgcl_tf.datasets.named import load as load
