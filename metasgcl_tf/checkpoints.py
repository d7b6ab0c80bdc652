"""Checkpoints: everything that a training needs to go on to the very weights it would have reached.

That is the weights, both optimizers, the states of all random numbers, the running means of the epoch, where
in the data it is, and the counters of the callbacks. A checkpoint is one file: arrays as NumPy writes them,
and a SHA-256 of all of it behind them.
"""

import hashlib
import io
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import keras
import numpy as np
from keras import ops

from metasgcl_tf.errors import InputError
from metasgcl_tf.files import write_whole

FOLDER = "checkpoints"  # of a run folder
KEPT = 3
DIGEST_SIZE = hashlib.sha256().digest_size


class Checkpoint(NamedTuple):
    """What a checkpoint holds.

    Attributes:
        arrays: the value of each of `state_of`.
        notes: the rest, as JSON has it: `epoch` and `batch` it goes on with, both from 0, and more.
    """

    arrays: list[np.ndarray]
    notes: dict[str, Any]


def state_of(model: keras.Model) -> list[keras.Variable]:
    """Every variable that a step of training reads or assigns, states of random numbers included."""
    return [*model.variables, *model.optimizer.variables, *model.metrics_variables]


def save(folder: Path, step: int, model: keras.Model, notes: dict[str, Any]) -> None:
    """Writes the checkpoint of a step and removes all but the newest `KEPT`.

    Raises:
        OSError: it cannot be written; those before stay.
    """
    arrays = [ops.convert_to_numpy(variable) for variable in state_of(model)]
    text = np.frombuffer(json.dumps(notes).encode(), np.uint8)

    def content(file: BinaryIO) -> None:
        np.savez(file, text, *arrays)
        file.seek(0)
        file.write(hashlib.file_digest(file, "sha256").digest())

    folder.mkdir(exist_ok=True)
    write_whole(folder / f"{step:012d}.npz", content)
    for old in files(folder)[KEPT:]:
        old.unlink()


def files(folder: Path) -> list[Path]:
    """The checkpoints of a folder, the newest first."""
    return sorted(folder.glob("[0-9]*.npz"), reverse=True)


def read(path: Path) -> Checkpoint:
    """Reads a checkpoint.

    Raises:
        ValueError: it is not what was written.
        OSError: it cannot be read.
    """
    data = path.read_bytes()
    content, digest = data[:-DIGEST_SIZE], data[-DIGEST_SIZE:]
    if hashlib.sha256(content).digest() != digest:
        raise ValueError("its checksum is wrong")
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        text, *arrays = (archive[f"arr_{place}"] for place in range(len(archive.files)))
    return Checkpoint(arrays, json.loads(text.tobytes()))


def newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that can be read, None without one; warns of every newer one that cannot."""
    for path in files(folder):
        try:
            return read(path)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            warnings.warn(f"{path} cannot be read ({reason}); going back to the one before.", stacklevel=2)
    return None


def restore(model: keras.Model, arrays: Sequence[np.ndarray]) -> None:
    """Assigns the state of a model of the same configuration, compiled.

    Raises:
        InputError: the state is of another model.
    """
    variables = state_of(model)
    shapes = [tuple(variable.shape) for variable in variables]
    if shapes != [array.shape for array in arrays]:
        raise InputError(
            "`resume` should continue a training of this version of the model. Received: a checkpoint of "
            f"{len(arrays)} variables, where {len(variables)} are expected, or of other shapes."
        )
    for variable, array in zip(variables, arrays, strict=True):
        variable.assign(array)
