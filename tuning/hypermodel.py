"""A model as KerasTuner sees it: a space, and how a point of it is built and fitted."""

from collections.abc import Sequence
from typing import Any

import keras
import keras_tuner

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.fitting import fit
from metasgcl_tf.models import SequentialRecommender
from metasgcl_tf.training import build_model
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.spaces import declare


class RecommenderHyperModel(keras_tuner.HyperModel):
    """Any model of the package, built and fitted as `metasgcl train` does.

    It works with KerasTuner's own tuners, which take it as it is; `metasgcl tune` adds what a long search
    needs. Give them `keras_tuner.Objective("val_ndcg@10", "max")`.

    Args:
        search: what every trial has and what is searched, checked.
        split: the log and its parts.
        number: of the trial, which decides its seed.
    """

    def __init__(self, search: Search, split: Split, number: int = 0) -> None:
        super().__init__(name=search.config.training.model)
        self.search, self.split, self.number = search, split, number

    def declare_hyperparameters(self, hp: keras_tuner.HyperParameters) -> None:
        """Declares the space; the defaults are the preset's."""
        declare(self.search.space, self.search.config, hp)

    def build(self, hp: keras_tuner.HyperParameters) -> SequentialRecommender:
        """A new model of these values; it is compiled when it is fitted."""
        self.declare_hyperparameters(hp)
        return build_model(self.search.trial_config(hp.values, self.number), self.split)

    def fit(
        self,
        hp: keras_tuner.HyperParameters,
        model: SequentialRecommender,
        callbacks: Sequence[keras.callbacks.Callback] = (),
        first_epoch: int = 0,
        epochs: int | None = None,
        **_: Any,
    ) -> None:
        """Fits it, see `metasgcl_tf.fitting.fit`; what else KerasTuner passes is of no use here."""
        config = self.search.trial_config(hp.values, self.number)
        fit(model, self.split, config, callbacks, first_epoch=first_epoch, epochs=epochs)
