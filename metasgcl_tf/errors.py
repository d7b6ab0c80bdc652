"""The package's own errors. Their messages are one line, which is all the command line prints."""

import difflib
import reprlib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the caller gave is unusable.

    The message is one line that names the argument (or file), the rule it breaks and the value
    received. The command line prints it and exits with code 2.
    """


LONGEST_SHOWN = 300  # characters of a received value in a message


class _Short(reprlib.Repr):
    """`repr` that ends soon, whatever it is given: values of a YAML file may be deep and numbers long."""

    def __init__(self) -> None:
        super().__init__()
        self.maxlevel, self.maxstring, self.maxlong, self.maxother = 4, 100, 100, LONGEST_SHOWN
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 30

    def repr_int(self, x: int, level: int) -> str:
        """An int; Python itself refuses to write down more than 4,300 digits."""
        return (
            super().repr_int(x, level) if x.bit_length() < 10_000 else f"an integer of {x.bit_length()} bits"
        )


def shown(value: object) -> str:
    """A received value as a message shows it: its `repr`, cut where it is long."""
    text = _Short().repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + "..."


def shown_name(name: str) -> str:
    """A received name as a message shows it between other quotes: in one line, cut where it is long."""
    return shown(name)[1:-1]


def first_line(error: BaseException) -> str:
    """What an error of a library says first; the rest is rarely for users."""
    return str(error).partition("\n")[0]


def require(condition: bool, argument: str, rule: str, received: object) -> None:
    """Raises an `InputError` that names the argument, the rule and what was received."""
    if not condition:
        raise InputError(f"`{argument}` should be {rule}. Received: `{argument}` = {shown(received)}.")


def require_known(argument: str, name: Any, valid: Iterable[str]) -> None:
    """Raises an `InputError` with the nearest valid name if `name` is not one."""
    valid = list(valid)
    if name in valid:
        return
    raise InputError(
        f"`{argument}` should be one of {', '.join(valid)}; did you mean {nearest(name, valid)!r}? "
        f"Received: {shown(name)}."
    )


def nearest(name: Any, valid: Iterable[str]) -> str:
    """The valid name that looks most like `name`."""
    return difflib.get_close_matches(shown(name).strip("'\""), list(valid), n=1, cutoff=0.0)[0]


class NonFiniteLossError(ArithmeticError):
    """A term of the loss became NaN or infinite; the message names the step and the term."""


class TrainingError(RuntimeError):
    """Training could not go on, for a reason outside of the model: no memory, say, or no data."""
