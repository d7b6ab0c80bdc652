"""The runs of a comparison: what each trains, where it goes, and whether it is already there."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from metasgcl_tf.config import DataConfig, RunConfig, TrainingConfig, build_config, model_parameters
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import MODELS
from metasgcl_tf.names import HYBRID, file_name, settings_of
from metasgcl_tf.run_folder import METRICS, RANKS, can_be_resumed, read_metrics

DATA_KEYS = {field.name for field in dataclasses.fields(DataConfig)}
TRAINING_KEYS = {field.name for field in dataclasses.fields(TrainingConfig)}


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """One run of a comparison.

    Attributes:
        name: of what is trained, see `metasgcl_tf.names`.
        settings: the configuration keys over the preset.
        folder: the run folder.
        trained: of a hybrid, the run of its model.
    """

    name: str
    settings: dict[str, Any]
    folder: Path
    trained: "PlannedRun | None" = None

    @property
    def config(self) -> RunConfig:
        """The whole configuration, checked."""
        return build_config(self.settings)

    @property
    def command(self) -> list[str]:
        """The arguments of `metasgcl` that make this run."""
        end = ["--out", str(self.folder), "--overwrite"]
        if can_be_resumed(self.folder, self.config):
            return ["train", "--resume", str(self.folder)]
        if self.trained is not None:
            return ["hybrid", str(self.trained.folder), *end]
        return ["train", "--set", *(f"{key}={_as_yaml(value)}" for key, value in self.settings.items()), *end]

    def difference(self) -> dict[str, Any] | None:
        """Settings of the result in the folder that are not the planned ones; None without a result."""
        if not all((self.folder / name).is_file() for name in (METRICS, RANKS)):
            return None
        # Built again, because a newer version may have more keys.
        found = build_config(read_metrics(self.folder)["config"]).flat()
        wanted = self.config.flat()
        return {key: value for key, value in found.items() if key not in wanted or wanted[key] != value}

    def finished(self) -> bool:
        """Whether the folder holds the planned result: a hybrid's of the model as it is now."""
        if self.difference() != {}:
            return False
        if self.trained is None:
            return True
        return self.trained.finished() and self._when() >= self.trained._when()

    def _when(self) -> float:
        return (self.folder / METRICS).stat().st_mtime


def plan(names: Sequence[str], seeds: Sequence[int], given: dict[str, Any], out: Path) -> list[PlannedRun]:
    """Every run of a comparison, checked; before each hybrid those of the model it is made of.

    Args:
        names: of what to train, see `metasgcl_tf.names`.
        seeds: of the runs; what has nothing to fit is run once.
        given: configuration keys over the presets; each goes to the models that have it.
        out: the folder of the runs.

    Raises:
        InputError: an unknown name, or a setting that is wrong or that none of the models has.
    """
    whole: dict[str, None] = {}  # a set that keeps the order
    for name in names:
        whole |= {name.removeprefix(HYBRID): None, name: None}
    models = [settings_of(name)["model"] for name in whole]
    for key in given.keys() - set().union(*map(_keys_of, models)):
        build_config({"model": models[0], key: given[key]})  # says what is wrong with it
    runs = [
        _planned(name, seed, given, out)
        for name, model in zip(whole, models, strict=True)
        for seed in (dict.fromkeys(seeds) if MODELS[model].learns() else [None])
    ]
    for run in runs:
        _ = run.config
    return runs


def _planned(name: str, seed: int | None, given: dict[str, Any], out: Path) -> PlannedRun:
    named = settings_of(name)
    settings = {key: value for key, value in given.items() if key in _keys_of(named["model"])}
    settings |= {key: value for key, value in named.items() if value}
    folder = out / file_name(name)
    if seed is not None:
        settings["seed"] = seed
        folder = folder.with_name(f"{folder.name}-seed{seed}")
    if not named["hybrid"]:
        return PlannedRun(name, settings, folder)
    if not MODELS[named["model"]].learns():
        raise InputError(f"`models` should mix models that are trained. Received: {name!r}.")
    return PlannedRun(name, settings, folder, _planned(name.removeprefix(HYBRID), seed, given, out))


def _keys_of(model: str) -> set[str]:
    """The settings that concern a model: of the data, its own, and of its training if there is any."""
    return DATA_KEYS | set(model_parameters(model)) | (TRAINING_KEYS if MODELS[model].learns() else set())


def check_finished(runs: Sequence[PlannedRun]) -> None:
    """Raises an `InputError` where a finished run would be lost to one of other settings."""
    for run in runs:
        if other := run.difference():
            key = min(other)
            raise InputError(
                f"`out` should be another folder (--overwrite replaces runs): {run.folder} is a finished run "
                f"with `{key}` = {other[key]!r}. Received: `{key}` = {run.config.flat().get(key)!r}."
            )


def _as_yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, width=math.inf, default_flow_style=True, allow_unicode=True)
        .removesuffix("\n...\n")
        .strip()
    )
