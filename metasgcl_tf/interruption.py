"""Ctrl-C and SIGTERM, taken at a moment when nothing is half done."""

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Any


class InterruptedTraining(KeyboardInterrupt):
    """Training was asked to stop and left a checkpoint; `signal` says by which signal."""

    def __init__(self, message: str, number: int) -> None:
        super().__init__(message)
        self.signal = number


class StopRequest:
    """Whether the process was asked to stop: `signal` is the signal's number, None until then."""

    signal: int | None = None


@contextlib.contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Notes the first Ctrl-C or SIGTERM within instead of acting on it; a second one acts at once.

    One that nobody acted on within acts at the end.
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
        restore()

    for number in before:
        signal.signal(number, note)
    try:
        yield request
    finally:
        restore()
    if request.signal is not None:
        signal.raise_signal(request.signal)
