"""YAML as people write it on a command line or in a file, hostile text included."""

from typing import Any

import yaml


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
        return yaml.load(text, _PlainLoader)
    except RecursionError:
        raise yaml.YAMLError("it is nested too deep") from None
    # What PyYAML lets through, of 2024-13-01, `!!bool x`, `!!int`, a number of 5,000 digits.
    except (ValueError, LookupError, AttributeError, TypeError, ArithmeticError) as error:
        raise yaml.YAMLError(str(error)) from None
