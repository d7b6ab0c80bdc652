"""The package's own errors. Their messages are one line, which is all the command line prints."""

import difflib
from collections.abc import Iterable
from typing import Any


class InputError(ValueError):
    """Something the caller gave is unusable.

    The message is one line that names the argument (or file), the rule it breaks and the value
    received. The command line prints it and exits with code 2.
    """


def require(condition: bool, argument: str, rule: str, received: object) -> None:
    """Raises an `InputError` that names the argument, the rule and what was received."""
    if not condition:
        raise InputError(f"`{argument}` should be {rule}. Received: `{argument}` = {received!r}.")


def require_known(argument: str, name: Any, valid: Iterable[str]) -> None:
    """Raises an `InputError` with the nearest valid name if `name` is not one."""
    valid = list(valid)
    if name in valid:
        return
    raise InputError(
        f"`{argument}` should be one of {', '.join(valid)}; did you mean {nearest(name, valid)!r}? "
        f"Received: {name!r}."
    )


def nearest(name: Any, valid: Iterable[str]) -> str:
    """The valid name that looks most like `name`."""
    return difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.0)[0]


class NonFiniteLossError(ArithmeticError):
    """A term of the loss became NaN or infinite; the message names the step and the term."""


class TrainingError(RuntimeError):
    """Training could not go on, for a reason outside of the model: no memory, say, or no data."""
