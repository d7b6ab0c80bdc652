"""What is searched: settings with a range or a list of values each, built in, named, or read from a file.

A space maps the name of a setting to `{"min": .003, "max": .3, "scale": "log"}` or to a list of values; that
is how files and results have it, too.
"""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import keras_tuner

from metasgcl_tf.config import DataConfig, RunConfig
from metasgcl_tf.errors import InputError, require, require_known
from metasgcl_tf.presets import variant_values
from metasgcl_tf.yaml_text import read_config_file

Space = dict[str, Any]


def log_range(low: float, high: float) -> dict[str, Any]:
    """A range on which every factor counts alike."""
    return {"min": low, "max": high, "scale": "log"}


# Of every model that has the setting. The paper's Fig. 4 varies the first, the second and `hidden_dim`.
RANGES: Space = {
    "contrastive_weight": log_range(0.003, 0.3),  # alpha, around the paper's .03
    "kl_weight": log_range(0.001, 0.5),  # beta, the paper's .1 to .5 and below
    "temperature": log_range(0.05, 5.0),  # tau
    "hidden_dim": [32, 64, 128, 256, 512],  # d
    "num_heads": [1, 2, 4, 8],
    "num_layers": [1, 2, 3, 4],
    "dropout": {"min": 0.0, "max": 0.7},
    "learning_rate": log_range(0.0001, 0.01),
    "meta_learning_rate": log_range(0.0001, 0.01),
    "batch_size": [32, 64, 128, 256, 512],
    "max_length": [20, 50, 100, 200],
    "mask_prob": {"min": 0.1, "max": 0.8},
    "markov_order": [2, 3, 5, 8],
    "num_horizontal": [4, 8, 16, 32],
    "num_negatives": [1, 4, 16, 64],
    "l2_weight": [0.0, 0.0001, 0.001, 0.01, 0.1],
}

# What is searched unless the user says otherwise.
SEARCHED = {
    "meta_sgcl": ("contrastive_weight", "kl_weight", "temperature", "hidden_dim"),
    "sasrec": ("hidden_dim", "num_layers", "dropout", "learning_rate"),
    "bert4rec": ("hidden_dim", "dropout", "learning_rate", "mask_prob"),
    "duorec": ("contrastive_weight", "temperature", "hidden_dim", "dropout"),
    "vsan": ("kl_weight", "hidden_dim", "dropout"),
    "acvae": ("kl_weight", "contrastive_weight", "hidden_dim", "dropout"),
    "contrast_vae": ("contrastive_weight", "kl_weight", "temperature", "hidden_dim"),
    "gru4rec": ("hidden_dim", "dropout", "learning_rate"),
    "caser": ("hidden_dim", "dropout", "learning_rate", "markov_order", "num_horizontal"),
    "bpr_mf": ("hidden_dim", "learning_rate", "num_negatives", "l2_weight"),
}

# What a trial may not differ in: the data, the budget, what is trained, and the seed, which each trial has of
# its own.
NEVER = {field.name for field in dataclasses.fields(DataConfig)} | {
    *("model", "variant", "hybrid", "seed", "epochs", "patience", "mixed_precision")
}


def build_space(
    config: RunConfig, names: Iterable[str] | None = None, file: str | Path | None = None
) -> Space:
    """The space around a configuration, each range wide enough to hold it.

    Args:
        config: what every trial has but for the searched settings.
        names: built-in ranges to search; by default the model's.
        file: a YAML file of settings with ranges; nothing after a name stands for the built-in range.

    Raises:
        InputError: an unknown name, a file that cannot be read, or a range that is none.
    """
    model, settings = config.training.model, config.flat()
    require(model in SEARCHED, "model", "one that is trained", model)
    if file is not None:
        space = read_config_file(file, "--space")
    elif names is not None:
        space = dict.fromkeys(names)
    else:
        fixed = variant_values(model, config.training.variant)
        space = {name: None for name in SEARCHED[model] if name not in fixed}
    if not space:
        raise InputError("`space` should name at least one setting. Received: nothing.")
    for name in space:
        require_known("space", name, settings.keys() - NEVER)
        if space[name] is None and name not in RANGES:
            raise InputError(
                f"`{name}` should have a range of yours (--space FILE); there is no built-in one. "
                "Received: nothing."
            )
    return {
        name: widened(RANGES[name], settings[name]) if given is None else given
        for name, given in space.items()
    }


def widened(given: Any, default: Any) -> Any:
    """A built-in range that holds the default."""
    if isinstance(given, list):
        return given if default in given else sorted([*given, default])
    if given.get("scale") == "log" and default <= 0:
        return given  # which the check refuses
    return given | {"min": min(given["min"], default), "max": max(given["max"], default)}


def declare(space: Space, config: RunConfig, hp: keras_tuner.HyperParameters) -> None:
    """Declares every setting of a checked space; the defaults are those of the configuration."""
    settings = config.flat()
    for name, given in space.items():
        default = settings[name]
        if isinstance(given, list):
            if isinstance(default, bool):
                hp.Boolean(name, default=default)
            else:
                hp.Choice(name, given, default=default)
            continue
        kind = hp.Int if isinstance(default, int) else hp.Float
        scale = given.get("scale", "linear")
        kind(name, given["min"], given["max"], given.get("step"), sampling=scale, default=default)
