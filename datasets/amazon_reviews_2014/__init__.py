"""TFDS builder of the 2014 Amazon reviews, 5-core files of four shops."""
