"""Exported models: what they answer, and ways to ask them."""

from metasgcl_tf.serving.loaded import Loaded as Loaded
from metasgcl_tf.serving.loaded import padded as padded
