"""Files that are right at every moment, and folders that one process at a time writes to."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from metasgcl_tf.errors import InputError


def write_whole(path: Path, content: str | Callable[[BinaryIO], None]) -> None:
    """Writes a file whole or not at all, whenever the process is killed or the power goes.

    Args:
        path: the file.
        content: text, or a function that writes to the open file, which it may read too.

    Raises:
        OSError: it cannot be written, for the disk is full, say; the file is then as it was.
    """
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with unfinished.open("w+b") as file:
            if isinstance(content, str):
                file.write(content.encode())
            else:
                content(file)
            file.flush()
            os.fsync(file.fileno())
        _replace(unfinished, path)
    except OSError:
        unfinished.unlink(missing_ok=True)
        raise


def save_whole(model: Any, path: Path) -> None:
    """Saves a Keras model whole or not at all, as `write_whole` does."""
    unfinished = path.with_name(f"{path.stem}.part{path.suffix}")  # Keras goes by the suffix
    model.save(unfinished)
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    _replace(unfinished, path)


def _replace(finished: Path, path: Path) -> None:
    finished.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the name too, not the content alone
    finally:
        os.close(folder)


@contextlib.contextmanager
def writable(folder: Path, argument: str = "out") -> Iterator[None]:
    """Says of what fails within that the argument should be a folder that can be written."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"`{argument}` should be a folder that can be written. "
            f"Received: {str(folder)!r} ({error.strerror or error})."
        ) from None


@contextlib.contextmanager
def held(folder: Path, does: str) -> Iterator[None]:
    """Makes a folder and holds it; a process that is killed lets go of it.

    Args:
        folder: to write to.
        does: what another process may be doing there, for the message: `searches`, say.

    Raises:
        InputError: another process holds it, or it cannot be written.
    """
    import fcntl  # not on Windows

    with writable(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise InputError(
            f"`out` should be a folder that no other process {does} in. Received: {str(folder)!r}."
        ) from None
    finally:
        os.close(lock)
