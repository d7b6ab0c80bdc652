"""The configuration of a run: flat keys with one name each, presets per data set, checked values."""

import contextlib
import dataclasses
import inspect
import math
import warnings
from typing import Any, get_args

from metasgcl_tf.data import pipelines
from metasgcl_tf.data.columns import Columns
from metasgcl_tf.data.noise import with_noise
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import InputError, nearest, require, require_known, shown, shown_name
from metasgcl_tf.models import MODELS, SequentialRecommender
from metasgcl_tf.presets import PRESETS, preset_values, variant_values


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which log, and what is kept of it.

    Attributes:
        data: name of a data set, or path of a log.
        preset: name of the preset the other values come from; by default the one named like `data`, if any.
        user_col, item_col, time_col, rating_col: columns of a table; by default the usual names.
        manual_dir: folder with the file of a named data set, fetched by hand.
        min_rating: keep interactions rated at least this; by default every one.
        k_core: drop users and items with fewer interactions than this, until none is left.
        noise: share of random items inserted into every training sequence, by the seed of the training.
    """

    data: str = "synthetic"
    preset: str | None = None
    user_col: str | None = None
    item_col: str | None = None
    time_col: str | None = None
    rating_col: str | None = None
    manual_dir: str | None = None
    min_rating: float | None = None
    k_core: int = 5
    noise: float = 0.0

    @property
    def columns(self) -> Columns | None:
        """Those of a table that are named; None where none is."""
        named = Columns(self.user_col, self.item_col, self.time_col, self.rating_col)
        return None if named == Columns() else named


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    """How a model is trained.

    Attributes:
        model: name of the model, a key of `metasgcl_tf.models.MODELS`.
        variant: name of a variant of the model, a key of `metasgcl_tf.presets.VARIANTS`.
        hybrid: mix the trained model with ItemCooccurrence, by a weight chosen on validation.
        seed: of initial weights, shuffling, dropout and noise.
        epochs: at most this many passes over the training targets.
        patience: stop after this many epochs without a better validation NDCG@10.
        batch_size: sequences a batch.
        learning_rate: of Adam.
        meta_learning_rate: of the meta encoder's own Adam, in two-step training.
        cosine_decay: let both learning rates fall to 1 % along a cosine over `epochs`.
        weight_decay: lambda, by which every step shrinks tables and kernels: each becomes (1 - learning rate
            times lambda) of itself, apart from the gradient (AdamW).
        clip_norm: scale gradients down to this global norm; by default not at all.
        cooccurrence_start: let item vectors start from counts of which items stand near each other instead of
            at random.
        every_prefix: one sample for every prefix instead of all positions of one causal pass.
        mixed_precision: compute in bfloat16 and keep the weights in float32, for GPUs.
        checkpoint_steps: write a checkpoint after this many steps, besides those after every epoch.
    """

    model: str = "meta_sgcl"
    variant: str | None = None
    hybrid: bool = False
    seed: int = 1
    epochs: int = 100
    patience: int = 10
    batch_size: int = 64
    learning_rate: float = 0.001
    meta_learning_rate: float = 0.001
    cosine_decay: bool = False
    weight_decay: float = 0.0
    clip_norm: float | None = None
    cooccurrence_start: bool = False
    every_prefix: bool = False
    mixed_precision: bool = False
    checkpoint_steps: int = 1000


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """Everything that decides a run: data, training, and the model's own arguments."""

    data: DataConfig
    training: TrainingConfig
    model_options: dict[str, Any]

    def flat(self) -> dict[str, Any]:
        """Every key with its value, as `--config` reads it back."""
        return dataclasses.asdict(self.data) | dataclasses.asdict(self.training) | self.model_options

    def learned_from(self, split: Split) -> Split:
        """What a model learns from: the split with its noise, if there is to be any."""
        return with_noise(split, self.data.noise, self.training.seed)


def model_parameters(model: str) -> dict[str, inspect.Parameter]:
    """The named arguments of a model's constructor and of those it hands the rest to.

    Without `num_items` and `num_users`, which the log decides.
    """
    found: dict[str, inspect.Parameter] = {}
    classes = MODELS[model].__mro__
    for cls in reversed(classes[: classes.index(SequentialRecommender) + 1]):
        found |= inspect.signature(cls.__init__).parameters
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    decided = ("self", "num_items", "num_users")
    return {n: p for n, p in found.items() if p.kind in named and n not in decided}


def build_config(*layers: dict[str, Any]) -> RunConfig:
    """Merges defaults, the preset, the variant and `layers` (later ones win) into a checked configuration.

    Args:
        *layers: flat keys with their values, e.g. of a file, then of the command line.

    Raises:
        InputError: an unknown preset, model, variant or key (with the nearest valid name), or a value of the
            wrong type, out of range or not the variant's.
    """
    given = {key: value for layer in layers for key, value in layer.items()}
    model = given.get("model", TrainingConfig.model)
    require_known("model", model, MODELS)
    if given.get("preset") is not None:
        require_known("preset", given["preset"], PRESETS)
    preset = given.get("preset") or _typed("data", given.get("data", DataConfig.data), str)
    changed = variant_values(model, given.get("variant"))
    values = preset_values(preset, model) | changed | given

    parameters = model_parameters(model)
    data_types = {f.name: f.type for f in dataclasses.fields(DataConfig)}
    training_types = {f.name: f.type for f in dataclasses.fields(TrainingConfig)}
    types = data_types | training_types | {name: p.annotation for name, p in parameters.items()}
    for key in values:
        if key not in types:
            owners = [name for name in MODELS if key in model_parameters(name)]
            hint = f"did you mean {nearest(key, types)!r}?"
            hint = f"it is one of {', '.join(owners)}." if owners else hint
            raise InputError(
                f"`{shown_name(key)}` should be a setting of {model} or of its training "
                f"(see metasgcl models {model}); {hint} "
                f"Received: `{shown_name(key)}` = {shown(values[key])}."
            )
    values = {key: _typed(key, value, types[key]) for key, value in values.items()}
    for key, value in changed.items():
        require(values[key] == value, key, f"{value!r} in the variant {given['variant']}", values[key])
    config = RunConfig(
        DataConfig(**{k: v for k, v in values.items() if k in data_types}),
        TrainingConfig(**{k: v for k, v in values.items() if k in training_types}),
        {name: values.get(name, p.default) for name, p in parameters.items()},
    )
    require(config.data.k_core >= 1, "k_core", "at least 1", config.data.k_core)
    require(0 <= config.data.noise <= 1, "noise", "between 0 and 1", config.data.noise)
    _check_training(config.training)
    if config.training.cooccurrence_start:
        starts = hasattr(MODELS[model], "start_from_cooccurrence")
        require(starts, "cooccurrence_start", f"false for {model}, which embeds no items", True)
    if config.training.every_prefix:
        free = MODELS[model].training_recipe is pipelines.next_item
        require(free, "every_prefix", f"false for {model}, which has samples of its own", True)
        require(
            not config.model_options.get("target_decay"), "every_prefix", "false with a target_decay", True
        )
    MODELS[model].check_arguments(**config.model_options)
    return config


def recorded_config(values: dict[str, Any]) -> RunConfig:
    """The configuration that a run wrote down, all of it.

    Keys that its version did not know have their defaults, which is how that version ran, and not what the
    preset has come to say of them.

    Raises:
        InputError: as `build_config`.
    """
    of_no_preset = {"model": values.get("model", TrainingConfig.model), "data": "-"}
    return build_config(build_config(of_no_preset).flat(), values)


def warn_of_defaults(config: RunConfig) -> None:
    """Warns where the preset has nothing for the model, so that its defaults count."""
    preset, model = config.data.preset or config.data.data, config.training.model
    if preset in PRESETS and model not in PRESETS[preset] and MODELS[model].learns():
        warnings.warn(f"The preset {preset} has nothing for {model}: its defaults count.", stacklevel=3)


def _typed(key: str, value: Any, expected: Any) -> Any:
    """The value as the type its key has; an int where a float is asked for is one."""
    kinds = get_args(expected) or (expected,)
    if value is None and type(None) in kinds:
        return None
    if float in kinds and not isinstance(value, bool):
        # YAML reads 1e-3 (no dot) as text.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            if math.isfinite(number := float(value)):
                return number
    elif str in kinds and isinstance(value, str | int | float) and not isinstance(value, bool):
        with contextlib.suppress(ValueError):  # Python writes no integer of more than 4,300 digits
            return str(value)
    elif type(value) in kinds and not (type(value) is int and abs(value) > 2**32):
        return value
    wanted = {
        bool: "true or false",
        int: "a whole number of at most 2^32",
        float: "a finite number",
        str: "text",
    }[kinds[0]]
    raise InputError(f"`{key}` should be {wanted}. Received: `{key}` = {shown(value)}.")


def _check_training(training: TrainingConfig) -> None:
    for name in ("epochs", "patience", "batch_size", "checkpoint_steps"):
        require(getattr(training, name) >= 1, name, "at least 1", getattr(training, name))
    for name in ("learning_rate", "meta_learning_rate"):
        require(getattr(training, name) > 0, name, "above 0", getattr(training, name))
    require(training.weight_decay >= 0, "weight_decay", "0 or more", training.weight_decay)
    clip_norm = training.clip_norm
    require(clip_norm is None or clip_norm > 0, "clip_norm", "above 0, or left out", clip_norm)
    require(0 <= training.seed < 2**32, "seed", "between 0 and 2^32 - 1", training.seed)
