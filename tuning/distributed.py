"""KerasTuner's chief and workers: one process proposes, others train, on one machine or several."""

import os
import socket
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

from metasgcl_tf.errors import InputError, require_known

ROLES = ("chief", "worker")


def address_of(text: str) -> tuple[str, int]:
    """`host:port` in two parts.

    Raises:
        InputError: it is none.
    """
    host, colon, port = text.rpartition(":")
    if not (colon and host and port.isdigit() and 0 < int(port) < 2**16):
        raise InputError(f"`chief` should be HOST:PORT. Received: {text!r}.")
    return host, int(port)


@contextmanager
def role_of_process(role: str | None, chief: str | None) -> Iterator[None]:
    """Tells KerasTuner what this process is, in the way it is told: by variables of the environment.

    Args:
        role: one of `ROLES`; None for a search in one process, which leaves variables that are set alone.
        chief: `host:port` where the chief listens.

    Raises:
        InputError: an unknown role, no address, or one where the chief cannot listen.
    """
    if role is None:
        if chief is not None:
            raise InputError(f"`chief` goes with --role chief or --role worker. Received: {chief!r}.")
        yield
        return
    require_known("role", role, ROLES)
    if chief is None:
        raise InputError(f"`role` = {role} needs the chief's address, --chief HOST:PORT. Received: none.")
    host, port = address_of(chief)
    if role == "chief":
        check_free(host, port)
    variables = {
        "KERASTUNER_TUNER_ID": "chief" if role == "chief" else f"worker-{uuid.uuid4().hex[:12]}",
        "KERASTUNER_ORACLE_IP": host,
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def check_free(host: str, port: int) -> None:
    """Raises an `InputError` where nobody can listen at an address."""
    try:
        with closing(socket.socket()) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
    except OSError as error:
        raise InputError(
            f"`chief` should be a free address of this machine. Received: {host}:{port} ({error.strerror})."
        ) from None
