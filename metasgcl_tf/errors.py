"""The package's own errors. Their messages are one line, which is all the command line prints."""


class InputError(ValueError):
    """Something the caller gave is unusable.

    The message is one line that names the argument (or file), the rule it breaks and the value
    received. The command line prints it and exits with code 2.
    """


def require(condition: bool, argument: str, rule: str, received: object) -> None:
    """Raises an `InputError` that names the argument, the rule and what was received."""
    if not condition:
        raise InputError(f"`{argument}` should be {rule}. Received: `{argument}` = {received!r}.")


class NonFiniteLossError(ArithmeticError):
    """A term of the loss became NaN or infinite; the message names the step and the term."""
