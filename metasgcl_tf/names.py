"""One name for what was trained: `meta_sgcl`, `meta_sgcl:no_cl` (a variant), `hybrid:meta_sgcl`."""

from pathlib import Path
from typing import Any

from metasgcl_tf.config import RunConfig, TrainingConfig
from metasgcl_tf.errors import require_known
from metasgcl_tf.models import MODELS
from metasgcl_tf.presets import variant_values

HYBRID = "hybrid:"


def name_of(training: TrainingConfig) -> str:
    """The name of what a configuration trains."""
    variant = f":{training.variant}" if training.variant else ""
    return (HYBRID if training.hybrid else "") + training.model + variant


def settings_of(name: str) -> dict[str, Any]:
    """The configuration keys that a name stands for.

    Raises:
        InputError: no such model, or no such variant of it.
    """
    model, colon, variant = name.removeprefix(HYBRID).partition(":")
    require_known("models", model, MODELS)
    variant_values(model, variant if colon else None)
    return {"model": model, "variant": variant if colon else None, "hybrid": name.startswith(HYBRID)}


def title_of(name: str) -> str:
    """What a table calls it; names that are none of ours stay as they are."""
    model, _, variant = name.removeprefix(HYBRID).partition(":")
    if model not in MODELS:
        return name
    title = MODELS[model].title + (f" {variant}" if variant else "")
    return f"Hybrid of {title}" if name.startswith(HYBRID) else title


def file_name(name: str) -> str:
    """The name as part of a path."""
    return name.replace(":", "-")


def run_name(config: RunConfig) -> str:
    """What the folder of a run is called by default."""
    training = config.training
    return f"{data_name(config.data.data)}-{file_name(name_of(training))}-seed{training.seed}"


def data_name(data: str) -> str:
    """What folders call a data set: its name, or that of its file."""
    return Path(data).name.split(".")[0]
