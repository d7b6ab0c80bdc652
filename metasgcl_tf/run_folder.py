"""The folder of a run: what is in it, how it is started and read back."""

import dataclasses
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import polars as pl
import yaml

from metasgcl_tf import checkpoints, safe_loading
from metasgcl_tf.config import RunConfig, recorded_config
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.files import writable, write_whole
from metasgcl_tf.models import SequentialRecommender
from metasgcl_tf.yaml_text import read_config_file

CONFIG, INTERACTIONS, MODEL = "config.yaml", "interactions.parquet", "model.keras"
HISTORY, RANKS, METRICS, TENSORBOARD = "history.csv", "ranks.parquet", "metrics.json", "tensorboard"
STARTED, TRAINED = "started.json", "trained.keras"  # until the run is finished; the second of a hybrid
FILES_THAT_ANSWER = (MODEL, INTERACTIONS, "users.parquet", "items.parquet")  # what recommendations hang on


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its configuration, its log with the raw ids, and its best model."""

    config: RunConfig
    log: InteractionLog
    model: SequentialRecommender


def check_free(run: Path, overwrite: bool) -> None:
    """Raises an `InputError` unless `run` is new, or is a run folder that may be replaced."""
    with writable(run):
        if not run.exists() or (run.is_dir() and not any(run.iterdir())):
            return
    if not overwrite:
        raise InputError(
            f"`out` should be a new folder (--overwrite replaces a run). Received: {str(run)!r}."
        )
    begun = any((run / name).is_file() for name in (INTERACTIONS, STARTED))
    if not (begun and (run / CONFIG).is_file()):
        raise InputError(
            f"`overwrite` replaces run folders only, with {CONFIG} and {INTERACTIONS}. "
            f"Received: {str(run)!r}."
        )
    safe_loading.check_links(run, "overwrite")


def check_apart(run: Path, source: Path, overwrite: bool) -> None:
    """Raises an `InputError` unless `run` is free, see `check_free`, and not the run that it is made from."""
    require(not run.exists() or not run.samefile(source), "out", "another folder than the run", str(run))
    check_free(run, overwrite)


def check_begun(run: Path) -> None:
    """Raises an `InputError` unless a training has begun in the folder."""
    if not (run / CONFIG).is_file():
        raise InputError(
            f"`resume` should be a folder in which training has begun, with {CONFIG}. Received: {str(run)!r}."
        )


def start(
    run: Path, config: RunConfig, log: InteractionLog, provenance: dict[str, Any] | None = None
) -> None:
    """Creates the folder with the configuration and the log; what an old run left goes, other files stay.

    Args:
        run: the folder.
        config: of the run.
        log: of the run.
        provenance: of a training, for `resume`.
    """
    with writable(run):
        run.mkdir(parents=True, exist_ok=True)
        for name in (TENSORBOARD, checkpoints.FOLDER):
            shutil.rmtree(run / name, ignore_errors=True)
        for name in (METRICS, MODEL, HISTORY, RANKS, STARTED, TRAINED):
            (run / name).unlink(missing_ok=True)
        if provenance is not None:
            write_whole(run / STARTED, json.dumps(provenance))
        write_whole(run / CONFIG, yaml.safe_dump(config.flat(), sort_keys=False))
        log.save(run)


def read_config(run: Path) -> RunConfig:
    """The configuration of a run, as its version had it.

    Raises:
        InputError: it cannot be read, or is not one of this version.
    """
    return recorded_config(read_config_file(run / CONFIG))


def can_be_resumed(run: Path, config: RunConfig) -> bool:
    """Whether the folder has a training of this configuration that was cut short after a checkpoint."""
    if (run / METRICS).exists() or not checkpoints.files(run / checkpoints.FOLDER):
        return False
    try:
        return read_config(run) == config
    except InputError:  # of another version
        return False


def read_provenance(run: Path) -> dict[str, Any]:
    """The provenance of a training that has begun.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads((run / STARTED).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"`resume` should hold a readable {STARTED}. Received: {str(run)!r} ({error})."
        ) from None


def tidy(run: Path) -> None:
    """Removes what a finished run no longer needs."""
    shutil.rmtree(run / checkpoints.FOLDER, ignore_errors=True)
    for name in (STARTED, TRAINED):
        (run / name).unlink(missing_ok=True)


def write_ranks(run: Path, ranks: pl.DataFrame) -> None:
    """Writes the rank of each user's test item, see `metasgcl_tf.evaluation.held_out_ranks`."""
    ranks.write_parquet(run / RANKS)


def write_metrics(run: Path, report: dict[str, Any]) -> None:
    """Writes the report of a run, whole or not at all: a run with a report is finished."""
    write_whole(run / METRICS, json.dumps(report, indent=2) + "\n")


def read_metrics(run: str | Path) -> dict[str, Any]:
    """The report of a run; empty where training did not get that far."""
    path = Path(run) / METRICS
    safe_loading.check_links(Path(run), "run")
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise InputError(f"`run` should hold a readable {METRICS}. Received: {path} ({error}).") from None


def load_run(run: str | Path, compile: bool = True) -> Run:
    """Reads a run folder back.

    Args:
        run: the folder.
        compile: bring the optimizer back too; scores need none.

    Returns:
        The run, with a warning where its training is not over.

    Raises:
        InputError: no such folder, one without a configuration, log or model, or with links that lead out.
    """
    run = Path(run)
    safe_loading.check_links(run, "run")
    for name in (CONFIG, MODEL):
        if not (run / name).is_file():
            raise InputError(
                f"`run` should be a folder that `metasgcl train` wrote, with {name}. Received: {run}."
            )
    config, log = read_config(run), InteractionLog.load(run)
    model = safe_loading.load_model(run / MODEL, compile=compile)
    if model.num_items != log.num_items:
        raise InputError(
            f"`run` should hold a model and a log of one training. Received: {run}, a model of "
            f"{model.num_items} items and a log of {log.num_items}."
        )
    if not (run / METRICS).is_file():
        warnings.warn(f"The training in {run} is not over: its best epoch so far answers.", stacklevel=2)
    return Run(config, log, model)
