"""YAML as people write it on a command line or in a file, hostile text included."""

from pathlib import Path
from typing import Any

import yaml

from metasgcl_tf.errors import InputError, shown


class _PlainLoader(yaml.SafeLoader):
    """Plain values only: a few aliases of aliases make a value that fills any memory."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """A value; an alias is refused."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it refers to another value with *")
        return super().compose_node(parent, index)


def read_yaml(text: str) -> Any:
    """The value that a text stands for, without aliases.

    Raises:
        yaml.YAMLError: it is none.
    """
    try:
        return _PlainLoader(text).get_single_data()
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep") from None
    # What PyYAML lets through, of 2024-13-01, `!!bool x`, `!!int`, a number of 5,000 digits.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise yaml.YAMLError(str(error)) from None


def read_config_file(path: str | Path, option: str = "--config") -> dict[str, Any]:
    """Reads a YAML (or JSON) mapping of configuration keys.

    Args:
        path: the file.
        option: what the file was given as, for the message.

    Raises:
        InputError: no such file, not YAML, or not a mapping.
    """
    try:
        values = read_yaml(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            f"`{option}` should be a readable file. Received: {path} ({error.strerror})."
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"`{option}` should be a YAML file. Received: {path} ({reason}).") from None
    if not isinstance(values, dict):
        kind = "nothing" if values is None else f"a {type(values).__name__}"
        raise InputError(f"`{option}` should map keys to values. Received: {kind} in {path}.")
    return {key if isinstance(key, str) else shown(key): value for key, value in values.items()}
