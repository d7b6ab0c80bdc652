"""What can be set, as `metasgcl models` shows it; the meanings are those of the docstrings."""

import inspect
import re
from typing import NamedTuple

from metasgcl_tf.config import DataConfig, RunConfig, TrainingConfig
from metasgcl_tf.models import MODELS

ENTRY = re.compile(r"^    (\w+(?:, \w+)*): (.*(?:\n     .*)*)", re.MULTILINE)


class Setting(NamedTuple):
    """A configuration key, its value as text (as `--set` takes it), and what it does."""

    key: str
    value: str
    meaning: str


def settings(config: RunConfig) -> dict[str, list[Setting]]:
    """The settings of the data, of training and of the model, with the values of a configuration."""
    model = config.training.model
    documented = {
        "data": entries(DataConfig),
        "training": entries(TrainingConfig),
        model: {k: v for cls in reversed(MODELS[model].__mro__) for k, v in entries(cls).items()},
    }
    values, found, named = config.flat(), {}, set()
    for part, meanings in documented.items():
        keys = [key for key in values if key in meanings and key not in named]
        named |= set(keys)
        found[part] = [Setting(key, as_text(values[key]), meanings[key]) for key in keys]
    return found


def entries(documented: type) -> dict[str, str]:
    """The entries below `Args:` or `Attributes:` of a docstring, the meaning of each in one line."""
    text = inspect.cleandoc(documented.__dict__.get("__doc__") or "")
    section = re.search(r"^(?:Args|Attributes):\n((?:(?: .*)?\n?)*)", text, re.MULTILINE)
    return {
        name: " ".join(meaning.split()).replace("`", "")
        for names, meaning in (ENTRY.findall(section[1]) if section else [])
        for name in names.split(", ")
    }


def as_text(value: object) -> str:
    """As `--set` reads it; nothing for what is not given."""
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def summary(model: str) -> str:
    """The first line of a model's docstring."""
    return inspect.getdoc(MODELS[model]).splitlines()[0]
