"""What a number needs to be repeated."""

import os
import platform
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import polars as pl
import tensorflow as tf

import metasgcl_tf
from metasgcl_tf import backend


def made_by() -> dict[str, Any]:
    """What a number needs to be repeated: commit, command, versions and machine."""
    module = getattr(sys.modules["__main__"], "__spec__", None)  # of `python -m`
    program = [Path(sys.argv[0]).name]
    if module is not None:
        run = ["python", "-m", module.name.removesuffix(".__main__")]
        program = ["metasgcl"] if module.name == "metasgcl_tf.cli" else run
    # Not the installed distributions: TensorFlow comes under several names.
    packages = {"metasgcl-tf": metasgcl_tf, "tensorflow": tf, "keras": keras, "numpy": np, "polars": pl}
    versions = {name: package.__version__ for name, package in packages.items()}
    cores = os.cpu_count()
    if hasattr(os, "sched_getaffinity"):  # on Linux; a process may be held to fewer
        cores = len(os.sched_getaffinity(0))
    machine = [platform.machine(), f"{cores} cores", f"{backend.NAME} backend"]
    if accelerator := backend.accelerator():
        machine.insert(2, accelerator)
    return {
        "commit": _commit(),
        "command": shlex.join([*program, *sys.argv[1:]]),
        "versions": {"python": platform.python_version()} | versions,
        "machine": ", ".join(machine),
    }


def _commit() -> str | None:
    """The commit this code is at, with -dirty for changes on top; None outside a checkout."""
    git = ["git", "-C", str(Path(__file__).parent)]
    command = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    # Without this check an installed copy would report the commit of whatever project surrounds it.
    tracked = [*git, "ls-files", "--error-unmatch", __file__]
    try:
        subprocess.run(tracked, capture_output=True, check=True)
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() or None
    except (OSError, subprocess.CalledProcessError):
        return None
