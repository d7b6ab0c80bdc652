"""The runs of a comparison: what each trains, where it goes, and whether it is already there."""

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from metasgcl_tf.config import (
    DataConfig,
    RunConfig,
    TrainingConfig,
    build_config,
    model_parameters,
    recorded_config,
)
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.models import MODELS
from metasgcl_tf.names import HYBRID, file_name, settings_of
from metasgcl_tf.results import differences, epochs_trained, read_result, without_places, write_result
from metasgcl_tf.run_folder import HISTORY, METRICS, MODEL, RANKS, can_be_resumed, read_metrics

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
        kept: a file for the result, which then counts without the folder too, see `metasgcl_tf.results`.
    """

    name: str
    settings: dict[str, Any]
    folder: Path
    trained: "PlannedRun | None" = None
    kept: Path | None = None

    @property
    def label(self) -> str:
        """What progress and failures call it: its folder, with that of its log where there are several."""
        return f"{self.folder.parent.name}/{self.folder.name}" if self.kept else self.folder.name

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
        if self.trained is not None and (self.trained.folder / MODEL).is_file():
            return ["hybrid", str(self.trained.folder), *end]
        return ["train", "--set", *(f"{key}={_as_yaml(value)}" for key, value in self.settings.items()), *end]

    def in_folder(self) -> dict[str, Any]:
        """The report of the folder; empty where there is none."""
        whole = all((self.folder / name).is_file() for name in (METRICS, RANKS))
        return read_metrics(self.folder) if whole else {}

    def report(self) -> dict[str, Any]:
        """The report of the planned run, from what was kept or from the folder; empty if it is not there."""
        return next((found for found in self._reports() if not self._differs(found)), {})

    def difference(self) -> dict[str, Any] | None:
        """Settings of the result there is that are not the planned ones; None without a result."""
        return min(map(self._differs, self._reports()), key=len, default=None)

    def _reports(self) -> list[dict[str, Any]]:
        kept = read_result(self.kept) if self.kept is not None else {}
        return [found for found in (kept, self.in_folder()) if found]

    def _differs(self, report: dict[str, Any]) -> dict[str, Any]:
        found = recorded_config(report["config"]).flat()
        if self.kept is None:
            return differences(found, self.config.flat())
        return differences(without_places(found), without_places(self.settings))

    def finished(self) -> bool:
        """Whether the planned result is there: a hybrid's of the model as it is now."""
        if self.difference() != {}:
            return False
        if self.trained is None or (self.kept is not None and self.kept.is_file()):
            return True
        return self.trained.finished() and self._when() >= self.trained._when()

    def has_model(self) -> bool:
        """Whether the folder holds the model of the planned run."""
        found = self.in_folder()
        return bool(found) and not self._differs(found) and (self.folder / MODEL).is_file()

    def keep(self) -> None:
        """Writes the result to where it is kept, if it is to be and is not there."""
        if self.kept is not None and self.report() != read_result(self.kept):
            more = {"epochs_trained": epochs_trained(self.folder / HISTORY)}
            write_result(self.kept, self.in_folder() | more)

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
    check_given(given, models)
    runs = [planned(name, seed, given, out) for name in whole for seed in seeds_of(name, seeds)]
    for run in runs:
        _ = run.config
    return runs


def seeds_of(name: str, seeds: Sequence[int]) -> list[int | None]:
    """The seeds to run what a name stands for with; None alone where nothing is fitted."""
    return list(dict.fromkeys(seeds)) if MODELS[settings_of(name)["model"]].learns() else [None]


def check_given(given: dict[str, Any], models: Sequence[str]) -> None:
    """Raises an `InputError` where no model has a setting, or where it is one that names what is trained."""
    for key in ("variant", "hybrid"):  # else its runs would go by the name of another
        rule = "left to the names of what is trained, such as meta_sgcl:joint and hybrid:sasrec"
        require(not given.get(key), key, rule, given.get(key))
    for key in given.keys() - set().union(*map(_keys_of, models)):
        build_config({"model": models[0], key: given[key]})  # says what is wrong with it


def planned(
    name: str, seed: int | None, given: dict[str, Any], out: Path, *, called: str = "", kept: bool = False
) -> PlannedRun:
    """One run.

    Args:
        name: of what to train, see `metasgcl_tf.names`.
        seed: of the run; None where nothing is fitted.
        given: configuration keys over the presets; those that the model has count.
        out: the folder of the runs.
        called: what the folder is called between name and seed, of settings that others there do not share.
        kept: keep the result beside the folder too.

    Raises:
        InputError: an unknown name, or the hybrid of a model that is not trained.
    """
    named = settings_of(name)
    settings = {key: value for key, value in given.items() if key in _keys_of(named["model"])}
    settings |= {key: value for key, value in named.items() if value}
    folder = out / (file_name(name) + called)
    if seed is not None:
        settings["seed"] = seed
        folder = folder.with_name(f"{folder.name}-seed{seed}")
    trained = None
    if named["hybrid"]:
        if not MODELS[named["model"]].learns():
            raise InputError(f"`models` should mix models that are trained. Received: {name!r}.")
        trained = planned(name.removeprefix(HYBRID), seed, given, out, called=called, kept=kept)
    file = folder.with_name(f"{folder.name}.json") if kept else None
    return PlannedRun(name, settings, folder, trained, file)


def _keys_of(model: str) -> set[str]:
    """The settings that concern a model: of the data, its own, and of its training if there is any."""
    return DATA_KEYS | set(model_parameters(model)) | (TRAINING_KEYS if MODELS[model].learns() else set())


def check_finished(runs: Sequence[PlannedRun]) -> None:
    """Raises an `InputError` where a finished run would be lost to one of other settings."""
    for run in runs:
        if other := run.difference():
            key, where = min(other), run.kept or run.folder
            raise InputError(
                f"`out` should be another folder (--overwrite replaces runs): {where} is a finished run "
                f"with `{key}` = {other[key]!r}. Received: `{key}` = {run.config.flat().get(key)!r}."
            )


def _as_yaml(value: Any) -> str:
    return (
        yaml.safe_dump(value, width=math.inf, default_flow_style=True, allow_unicode=True)
        .removesuffix("\n...\n")
        .strip()
    )
