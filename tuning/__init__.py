"""Searches over the settings of a model with KerasTuner, whose only importer this package is."""

from metasgcl_tf.tuning.hypermodel import RecommenderHyperModel as RecommenderHyperModel
from metasgcl_tf.tuning.search import Search as Search
from metasgcl_tf.tuning.searching import tune as tune
