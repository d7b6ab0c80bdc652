"""What a search is: what every trial shares, what is searched, by whom, and for what."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from metasgcl_tf.config import RunConfig, build_config
from metasgcl_tf.errors import InputError, require, require_known
from metasgcl_tf.files import write_whole
from metasgcl_tf.metrics import CUTOFFS
from metasgcl_tf.safe_loading import check_links
from metasgcl_tf.tuning.space_checks import checked_space

FILE = "search.json"
TUNERS = ("bayesian", "hyperband", "random", "grid")
METRICS = (*(f"{kind}@{k}" for kind in ("ndcg", "hr") for k in CUTOFFS), "mrr")
OBJECTIVES = (*(f"val_{name}" for name in METRICS), *(f"val_kept_{name}" for name in METRICS))


@dataclasses.dataclass(frozen=True)
class Search:
    """Everything that decides which trials a search makes and what they score.

    Attributes:
        config: what every trial has but for the searched settings; the first trial is this itself, and the
            best one is trained again with its epochs.
        space: what is searched, see `metasgcl_tf.tuning.spaces`.
        tuner: who proposes: one of `TUNERS`.
        objective: what a trial scores, the best of its epochs: one of `OBJECTIVES`.
        epochs: of a trial at most; by default those of `config`.
    """

    config: RunConfig
    space: dict[str, Any]
    tuner: str = "bayesian"
    objective: str = "val_ndcg@10"
    epochs: int | None = None

    def checked(self) -> "Search":
        """The search with every value of its space typed.

        Raises:
            InputError: something of it is unusable.
        """
        require_known("tuner", self.tuner, TUNERS)
        if self.objective not in OBJECTIVES and "val_" not in str(self.objective):
            raise InputError(
                "`objective` should be one of validation, such as val_ndcg@10: nothing is chosen on test "
                f"items. Received: {self.objective!r}."
            )
        require_known("objective", self.objective, OBJECTIVES)
        require(self.epochs is None or self.epochs >= 1, "epochs", "at least 1", self.epochs)
        return dataclasses.replace(self, space=checked_space(self.space, self.config))

    def trial_config(self, values: dict[str, Any], number: int) -> RunConfig:
        """The configuration of a trial: with its values, a seed of its own, and a patience that fits.

        Args:
            values: of the searched settings; others are left out.
            number: of the trial, from 0.
        """
        training = self.config.training
        epochs = self.epochs or training.epochs
        return build_config(
            self.config.flat(),
            {name: values[name] for name in self.space},
            {
                "epochs": epochs,
                "patience": min(training.patience, max(2, epochs // 3)),
                "seed": (training.seed + number) % 2**32,
            },
        )

    def best_config(self, values: dict[str, Any]) -> RunConfig:
        """The configuration of the best trial with the whole budget and the seed of every run."""
        return build_config(self.config.flat(), {name: values[name] for name in self.space})

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"config": self.config.flat()}

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> "Search":
        """Back from `as_dict`; other keys are left out."""
        fields = {field.name: found[field.name] for field in dataclasses.fields(cls)}
        return cls(**fields | {"config": build_config(found["config"])})


def read_search(folder: Path) -> dict[str, Any]:
    """`search.json` of a folder; empty where there is none.

    Raises:
        InputError: it cannot be read, or a link leads out of the folder.
    """
    path = folder / FILE
    check_links(folder, "out")
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"`out` should hold a readable {FILE}. Received: {path} ({error}).") from None


def write_search(folder: Path, search: Search, more: dict[str, Any]) -> None:
    """Writes `search.json`: the search, and what a number needs to be repeated."""
    write_whole(folder / FILE, json.dumps(search.as_dict() | more, indent=2) + "\n")


def check_same(search: Search, before: dict[str, Any], folder: Path) -> None:
    """Raises an `InputError` where a folder holds trials of another search."""
    found, wanted = (_flat(each) for each in (Search.from_dict(before), search))
    for key, value in found.items():
        if value != wanted.get(key):
            raise InputError(
                f"`out` should be another folder: {folder} is a search with `{key}` = {value!r}. "
                f"Received: `{key}` = {wanted.get(key)!r}."
            )


def _flat(search: Search) -> dict[str, Any]:
    found = search.as_dict()
    return found.pop("config") | {"epochs of a trial": found.pop("epochs")} | found
