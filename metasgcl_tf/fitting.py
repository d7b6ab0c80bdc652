"""`model.fit` as every command has it: the recipe, the optimizers, the callbacks, the checkpoints."""

import functools
import math
from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from metasgcl_tf.callbacks import StopOnNonFinite
from metasgcl_tf.checkpoint_callbacks import KeepBest, KeepCheckpoints
from metasgcl_tf.config import RunConfig
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import TrainingError
from metasgcl_tf.models import SequentialRecommender
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam


def fit(
    model: SequentialRecommender,
    split: Split,
    config: RunConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    checkpoint: Path | None = None,
    first_epoch: int = 0,
    epochs: int | None = None,
    start: float = -math.inf,
    keeper: KeepCheckpoints | None = None,
) -> None:
    """Fits until `patience` epochs brought no better validation NDCG@10.

    Args:
        model: one that is compiled goes on with the optimizer it has.
        split: the log and its parts.
        config: how to train.
        callbacks: what else watches, after the guard against NaN.
        checkpoint: keeps the best epoch.
        first_epoch: how many the model has behind it.
        epochs: stop after this many, those behind it included; by default `config.training.epochs`, over
            which the learning rates fall in any case.
        start: the validation NDCG@10 that the first epoch to be kept must exceed.
        keeper: writes checkpoints; training goes on from the newest, if there is one.

    Raises:
        NonFiniteLossError: a term of the loss became NaN.
        TrainingError: TensorFlow gave up.
    """
    training = config.training
    recipe = pipelines.every_prefix if training.every_prefix else model.training_recipe
    sizes = {"max_length": model.max_length, "batch_size": training.batch_size}
    recipe = functools.partial(recipe, config.learned_from(split), **sizes, seed=training.seed)
    if not model.compiled:
        steps_per_epoch = int(recipe().cardinality()) if training.cosine_decay else 0
        model.compile(build_optimizer(config, steps_per_epoch))
    watching = [
        StopOnNonFinite(sorted(model.loss_names, key="loss".__eq__), checkpoint),
        *([] if checkpoint is None else [KeepBest(checkpoint, start)]),
        keras.callbacks.EarlyStopping("val_ndcg@10", mode="max", patience=training.patience, baseline=start),
        *callbacks,
    ]
    parts = [(first_epoch, 0, epochs or training.epochs)]
    if keeper is not None:
        if keeper.take_up(model, watching):
            return
        parts = keeper.parts(epochs or training.epochs)
        watching.append(keeper)
    for epoch, batches_done, end in parts:
        try:
            model.fit(
                recipe(first_epoch=epoch).skip(batches_done),
                initial_epoch=epoch,
                epochs=end,
                validation_data=pipelines.ranking(split, "valid", max_length=model.max_length),
                shuffle=False,  # the recipe shuffles, by epoch
                verbose=0,
                callbacks=watching,
            )
        except tf.errors.OpError as error:
            reason = " ".join(str(error.message).split())
            raise TrainingError(f"Training stopped: {type(error).__name__}: {reason:.500}") from error
        if model.stop_training:
            break


def build_optimizer(config: RunConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Adam, or a pair of them for a two-step update, at constant rates or rates that fall along a cosine.

    Constant rates need no `steps_per_epoch`. The optimizer updates the embedding table row by row where the
    loss reads only some rows of it. Each of a pair clips the gradients of its own variables.
    """
    training = config.training
    # None, with which Keras does without the pass over all weights.
    regularised = {"weight_decay": training.weight_decay or None, "global_clipnorm": training.clip_norm}

    def adam(rate: float) -> keras.optimizers.Optimizer:
        if not training.cosine_decay:
            return RowWiseAdam(rate, **regularised)
        steps = steps_per_epoch * training.epochs
        return RowWiseAdam(keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01), **regularised)

    main = adam(training.learning_rate)
    if config.model_options.get("training") != "two_step":
        return main
    return PairOptimizer(main, adam(training.meta_learning_rate))
