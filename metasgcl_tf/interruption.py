"""Ctrl-C and SIGTERM, taken at a moment when nothing is half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class InterruptedTraining(KeyboardInterrupt):
    """Training was asked to stop and can be taken up again; `signal` says by which signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """Whether the process was asked to stop: `signal` is the signal's number, None until then."""

    signal: int | None = None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Notes Ctrl-C and SIGTERM within instead of acting on them; a second Ctrl-C acts at once.

    A second SIGTERM does not: `timeout` sends one to a process and one more to its group. What nobody
    acted on within acts at the end.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():  # which alone gets signals
        yield request
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    def note(number: int, _: Any) -> None:
        request.signal = number
        signal.signal(signal.SIGINT, before[signal.SIGINT])

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
    if request.signal is not None:
        signal.raise_signal(request.signal)


@contextlib.contextmanager
def sigterm_raised(message: str) -> Iterator[None]:
    """SIGTERM within raises `InterruptedTraining` at once; by default it kills the process."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(number: int, _: Any) -> None:
        raise InterruptedTraining(message, number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
