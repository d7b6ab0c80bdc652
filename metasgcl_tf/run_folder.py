"""The folder of a run: what is in it, how it is started and read back."""

import dataclasses
import json
import os
import platform
import shlex
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import yaml

from metasgcl_tf.config import RunConfig, build_config, read_config_file
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import SequentialRecommender

CONFIG, MODEL, METRICS = "config.yaml", "model.keras", "metrics.json"


@dataclasses.dataclass(frozen=True)
class Run:
    """A finished run: its configuration, its log with the raw ids, and its best model."""

    config: RunConfig
    log: InteractionLog
    model: SequentialRecommender


def check_free(run: Path, overwrite: bool) -> None:
    """Raises an `InputError` unless `run` is new, or is a run folder that may be replaced."""
    if not run.exists() or (run.is_dir() and not any(run.iterdir())):
        return
    if not overwrite:
        raise InputError(
            f"`out` should be a new folder (--overwrite replaces a run). Received: {str(run)!r}."
        )
    if not (run / CONFIG).is_file():
        raise InputError(f"`overwrite` replaces run folders only, with a {CONFIG}. Received: {str(run)!r}.")


def start(run: Path, config: RunConfig, log: InteractionLog) -> None:
    """Creates the folder, in place of an old run, with the configuration and the log."""
    if run.exists():
        shutil.rmtree(run)
    run.mkdir(parents=True)
    (run / CONFIG).write_text(yaml.safe_dump(config.flat(), sort_keys=False), encoding="utf-8")
    log.save(run)


def write_metrics(run: Path, report: dict[str, Any]) -> None:
    """Writes the report of a run."""
    (run / METRICS).write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


def load_run(run: str | Path) -> Run:
    """Reads a run folder back.

    Raises:
        InputError: no such folder, or one without a configuration, log or model.
    """
    run = Path(run)
    for name in (CONFIG, MODEL):
        if not (run / name).is_file():
            raise InputError(
                f"`run` should be a folder that `metasgcl train` wrote, with {name}. Received: {run}."
            )
    config, log = build_config(read_config_file(run / CONFIG)), InteractionLog.load(run)
    try:
        model = keras.models.load_model(run / MODEL)
    except (ValueError, OSError) as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"`run` should hold a readable {MODEL}. Received: {run / MODEL} ({reason})."
        ) from None
    return Run(config, log, model)


def provenance() -> dict[str, Any]:
    """What a number needs to be repeated: commit, command, versions and machine."""
    program = Path(sys.argv[0]).name
    packages = ("metasgcl-tf", "tensorflow", "keras", "numpy", "polars")
    return {
        "commit": _commit(),
        "command": shlex.join([program, *sys.argv[1:]]),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in packages},
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {keras.backend.backend()} backend",
    }


def _commit() -> str | None:
    """The commit this code is at, with -dirty for changes on top; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # Without this check an installed copy would report the commit of whatever project surrounds it.
    tracked = subprocess.run(
        [*git, "ls-files", "--error-unmatch", __file__], capture_output=True, check=False
    )
    if tracked.returncode:
        return None
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
