"""The main path: from an interaction log to a trained model, its numbers and a run folder."""

import contextlib
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np
from rich.console import Console
from tensorboard.plugins import projector

from metasgcl_tf import run_folder
from metasgcl_tf.callbacks import EpochLines, StopOnNonFinite, WarnOnPosteriorCollapse
from metasgcl_tf.config import RunConfig
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.readers import Columns
from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.mixing import mix
from metasgcl_tf.models import MODELS, SequentialRecommender
from metasgcl_tf.optimizers import PairOptimizer, RowWiseAdam
from metasgcl_tf.run_report import write_report
from metasgcl_tf.safe_loading import load_model


def train(
    config: RunConfig, out: str | Path, *, overwrite: bool = False, console: Console | None = None
) -> dict:
    """Trains a model and writes a run folder.

    The folder holds `config.yaml`, the log with its ids (`*.parquet`), `model.keras` (the epoch with the
    best validation NDCG@10), `history.csv`, `tensorboard/`, `ranks.parquet` (of each user's test item) and
    `metrics.json`.

    Args:
        config: what to do, see `metasgcl_tf.config.build_config`.
        out: the run folder.
        overwrite: replace the folder if it exists; otherwise that is an error.
        console: where progress goes; by default nowhere.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: unusable data or configuration, or the folder exists.
        NonFiniteLossError: a term of the loss became NaN; `model.keras` keeps the best epoch before.
    """
    run, console = Path(out), console or Console(quiet=True)
    run_folder.check_free(run, overwrite)
    started, provenance = time.perf_counter(), run_folder.provenance()
    log = load_log(config)
    split = leave_one_out(log)
    console.print(split.describe(), highlight=False, soft_wrap=True)

    model = build_model(config, split)
    if config.training.hybrid:
        require(model.learns(), "model", "one that is trained, for a hybrid", config.training.model)
    if model.learns():
        check_trainable(split)
    run_folder.start(run, config, log)
    model, more = best_of_training(model, split, config, run, console), {}
    if config.training.hybrid:
        model, more["hybrid"] = mix(model, split, config, console)
        model.save(run / run_folder.MODEL)
    seconds = time.perf_counter() - started
    return write_report(run, model, split, config, provenance, seconds, **more)


def build_model(config: RunConfig, split: Split) -> SequentialRecommender:
    """A new model that knows the training part; its weights are those of the seed."""
    keras.utils.set_random_seed(config.training.seed)
    with computing_in(config):
        model = MODELS[config.training.model](split.log.num_items, **config.model_options)
    model.adapt(split)
    return model


def check_trainable(split: Split) -> None:
    """Raises an `InputError` unless there is something to train on."""
    if not len(split.training_pairs(1)[0]):
        raise InputError(
            "The log needs a user with at least 4 interactions: two to train on besides the two held out. "
            f"Received: {split.describe()}."
        )


@contextlib.contextmanager
def computing_in(config: RunConfig) -> Iterator[None]:
    """Layers made within compute as precisely as the configuration says."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if config.training.mixed_precision else "float32")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def load_log(config: RunConfig) -> InteractionLog:
    """The log that the configuration names."""
    data = config.data
    named = {"user": data.user_col, "item": data.item_col, "time": data.time_col, "rating": data.rating_col}
    given = {role: column for role, column in named.items() if column is not None}
    columns = Columns(**given) if given else None
    kept = {"k_core": data.k_core, "min_rating": data.min_rating}
    return load(data.data, columns=columns, manual_dir=data.manual_dir, **kept)


def build_optimizer(config: RunConfig, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Adam, or a pair of them for a two-step update, at constant rates or rates that fall along a cosine.

    It updates the embedding table row by row where the loss reads only some rows of it. Each of a pair clips
    the gradients of its own variables.
    """
    training = config.training

    def adam(rate: float) -> keras.optimizers.Optimizer:
        if not training.cosine_decay:
            return RowWiseAdam(rate, global_clipnorm=training.clip_norm)
        steps = steps_per_epoch * training.epochs
        falling = keras.optimizers.schedules.CosineDecay(rate, steps, alpha=0.01)
        return RowWiseAdam(falling, global_clipnorm=training.clip_norm)

    main = adam(training.learning_rate)
    if config.model_options.get("training") != "two_step":
        return main
    return PairOptimizer(main, adam(training.meta_learning_rate))


def best_of_training(
    model: SequentialRecommender,
    split: Split,
    config: RunConfig,
    run: Path,
    console: Console,
    start: float = -math.inf,
) -> SequentialRecommender:
    """The model of the best epoch, or as it is where there is nothing to fit; it is in `model.keras` too.

    Args:
        model: adapted.
        split: the log and its parts.
        config: how to train.
        run: the run folder, which also gets the history.
        console: where progress goes.
        start: see `fit`.
    """
    if not model.learns():
        model.compile()
        model.save(run / run_folder.MODEL)
        return model
    with EpochLines(console, start) as lines:
        noted = [
            keras.callbacks.CSVLogger(run / run_folder.HISTORY),
            keras.callbacks.TensorBoard(run / run_folder.TENSORBOARD, write_graph=False),
            WarnOnPosteriorCollapse(),
            lines,
        ]
        fit(model, split, config, noted, checkpoint=run / run_folder.MODEL, start=start)
    best = load_model(run / run_folder.MODEL, compile=not config.training.hybrid)
    write_projector(run / run_folder.TENSORBOARD, best, split.log)
    return best


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
) -> keras.callbacks.History:
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
    """
    training = config.training
    recipe = pipelines.every_prefix if training.every_prefix else model.training_recipe
    shape = {"max_length": model.max_length, "batch_size": training.batch_size}
    batches = recipe(split, **shape, seed=training.seed, first_epoch=first_epoch)
    if not model.compiled:
        model.compile(build_optimizer(config, int(batches.cardinality())))
    best = {"monitor": "val_ndcg@10", "mode": "max"}
    kept = []
    if checkpoint is not None:
        options = best | {"save_best_only": True, "initial_value_threshold": start}
        kept.append(keras.callbacks.ModelCheckpoint(checkpoint, **options))
    return model.fit(
        batches,
        initial_epoch=first_epoch,
        epochs=epochs or training.epochs,
        validation_data=pipelines.ranking(split, "valid", max_length=model.max_length),
        shuffle=False,  # the recipe shuffles, by epoch
        verbose=0,
        callbacks=[
            StopOnNonFinite(sorted(model.loss_names, key="loss".__eq__), checkpoint),
            *kept,
            keras.callbacks.EarlyStopping(patience=training.patience, baseline=start, **best),
            *callbacks,
        ],
    )


def write_projector(folder: Path, model: SequentialRecommender, log: InteractionLog) -> None:
    """Writes the item embeddings with their raw ids for TensorBoard's projector."""
    table = keras.ops.convert_to_numpy(model.embedding.item_table)
    np.savetxt(folder / "item_embeddings.tsv", table, fmt="%.5g", delimiter="\t")
    names = (" ".join(str(item).replace("\t", " ").splitlines()) for item in log.items)  # one line each
    (folder / "item_ids.tsv").write_text("\n".join(names) + "\n", encoding="utf-8")
    config = projector.ProjectorConfig()
    config.embeddings.add(
        tensor_name="item_embeddings", tensor_path="item_embeddings.tsv", metadata_path="item_ids.tsv"
    )
    projector.visualize_embeddings(str(folder), config)
