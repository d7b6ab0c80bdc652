"""The main path: from an interaction log to a trained model, its numbers and a run folder."""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path

import keras
from rich.console import Console

from metasgcl_tf import checkpoints, run_folder
from metasgcl_tf.callbacks import EpochLines, WarnOnPosteriorCollapse
from metasgcl_tf.checkpoint_callbacks import KeepCheckpoints
from metasgcl_tf.config import RunConfig, warn_of_defaults
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.files import held, save_whole
from metasgcl_tf.fitting import fit
from metasgcl_tf.interruption import stop_request
from metasgcl_tf.mixing import mix
from metasgcl_tf.models import MODELS, SequentialRecommender
from metasgcl_tf.provenance import made_by
from metasgcl_tf.reports.projector import write_projector
from metasgcl_tf.run_report import write_report
from metasgcl_tf.safe_loading import load_model


def train(
    config: RunConfig, out: str | Path, *, overwrite: bool = False, console: Console | None = None
) -> dict:
    """Trains a model and writes a run folder.

    The folder holds `config.yaml`, the log with its ids (`*.parquet`), `model.keras` (the epoch with the
    best validation NDCG@10), `history.csv`, `tensorboard/`, `ranks.parquet` (of each user's test item) and
    `metrics.json`; until that is there, also the checkpoints that `resume` goes on from.

    Args:
        config: what to do, see `metasgcl_tf.config.build_config`.
        out: the run folder.
        overwrite: replace the folder if it exists; otherwise that is an error.
        console: where progress goes; by default nowhere.

    Returns:
        What `metrics.json` holds.

    Raises:
        InputError: unusable data or configuration, or the folder exists or is another process's.
        InterruptedTraining: Ctrl-C or SIGTERM; the newest checkpoint is of that moment.
        NonFiniteLossError: a term of the loss became NaN; `model.keras` keeps the best epoch before.
        TrainingError: TensorFlow gave up, for lack of memory, say.
    """
    run = Path(out)
    run_folder.check_free(run, overwrite)
    warn_of_defaults(config)
    return _train(run, config, load_log(config), new=True, console=console)


def resume(run: str | Path, *, console: Console | None = None) -> dict:
    """Goes on with a training that was cut short, to the weights and numbers it would have reached.

    Bit by bit on the same machine, wherever it was cut; without a readable checkpoint it begins anew.

    Args:
        run: the run folder.
        console: where progress goes; by default nowhere.

    Returns:
        What `metrics.json` holds; of a run that is finished, without doing anything.

    Raises:
        InputError: no run folder, or one that another process writes to, or one in which an update or a
            mixture was cut short.
        Exception: as `train`.
    """
    run = Path(run)
    run_folder.check_begun(run)
    if report := run_folder.read_metrics(run):
        return report
    anew = "a training that was cut short; an update or a mixture begins anew, with --overwrite"
    require((run / run_folder.STARTED).is_file(), "resume", anew, str(run))
    config = run_folder.read_config(run)
    if checkpoints.files(run / checkpoints.FOLDER):
        return _train(run, config, InteractionLog.load(run), new=False, console=console)
    return _train(run, config, load_log(config), new=True, console=console)


def _train(run: Path, config: RunConfig, log: InteractionLog, *, new: bool, console: Console | None) -> dict:
    """`train` or, in a folder that is not `new`, `resume`."""
    started, provenance = time.perf_counter(), made_by()
    console, split = console or Console(quiet=True), leave_one_out(log)
    console.print(split.describe(), highlight=False, soft_wrap=True)

    model = build_model(config, split)
    if config.training.hybrid:
        require(model.learns(), "model", "one that is trained, for a hybrid", config.training.model)
    if model.learns():
        check_trainable(split)
    with held(run, "trains"):
        if new:
            run_folder.start(run, config, log, provenance)
        else:
            provenance = run_folder.read_provenance(run)
        with stop_request() as request:
            keeper = KeepCheckpoints(run, config.training.checkpoint_steps, request, started)
            model, more = best_of_training(model, split, config, run, console, keeper=keeper), {}
        if config.training.hybrid:
            model, more["hybrid"] = mix(model, split, config, console)
            save_whole(model, run / run_folder.MODEL)
        report = write_report(run, model, split, config, provenance, keeper.seconds, **more)
        run_folder.tidy(run)
    return report


def build_model(config: RunConfig, split: Split) -> SequentialRecommender:
    """A new model that knows the training part; its weights are those of the seed."""
    keras.utils.set_random_seed(config.training.seed)
    with computing_in(config):
        model = MODELS[config.training.model](split.log.num_items, **config.model_options)
    known = config.learned_from(split)
    model.adapt(known)
    if config.training.cooccurrence_start:
        model.start_from_cooccurrence(known)
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
    kept = {"k_core": data.k_core, "min_rating": data.min_rating}
    return load(data.data, columns=data.columns, manual_dir=data.manual_dir, **kept)


def best_of_training(
    model: SequentialRecommender,
    split: Split,
    config: RunConfig,
    run: Path,
    console: Console,
    start: float = -math.inf,
    keeper: KeepCheckpoints | None = None,
) -> SequentialRecommender:
    """The model of the best epoch, or as it is where there is nothing to fit; it is in `model.keras` too.

    Of a hybrid it is in `trained.keras`, so that a training that is cut short later finds it.

    Args:
        model: adapted.
        split: the log and its parts.
        config: how to train.
        run: the run folder, which also gets the history.
        console: where progress goes.
        start: see `metasgcl_tf.fitting.fit`.
        keeper: see `metasgcl_tf.fitting.fit`.
    """
    if not model.learns():
        model.compile()
        save_whole(model, run / run_folder.MODEL)
        return model
    kept = run / (run_folder.TRAINED if config.training.hybrid else run_folder.MODEL)
    with EpochLines(console, config.training.epochs, start) as lines:
        noted = [
            keras.callbacks.CSVLogger(run / run_folder.HISTORY, append=True),
            keras.callbacks.TensorBoard(run / run_folder.TENSORBOARD, write_graph=False),
            WarnOnPosteriorCollapse(),
            lines,
        ]
        fit(model, split, config, noted, checkpoint=kept, start=start, keeper=keeper)
    best = load_model(kept, compile=not config.training.hybrid)
    write_projector(run / run_folder.TENSORBOARD, best, split.log)
    return best
