"""The trials of a folder as its JSON files have them: what reports are made of, without KerasTuner."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from metasgcl_tf.errors import InputError, require

TRIALS = "trials"


@dataclasses.dataclass(frozen=True)
class TrialResult:
    """One trial.

    Attributes:
        number: from 0; 0 is the preset.
        name: of its folder.
        values: of the searched settings.
        status: `COMPLETED`, `FAILED` or `RUNNING`.
        score: the best epoch's, None where the trial did not finish.
        best_epoch: which that was, from 1.
        epochs: how many there were.
        seconds: how long it took.
        ended: seconds of search when it was over; None where that is not known.
        history: score after each epoch.
        reason: why it failed.
    """

    number: int
    name: str
    values: dict[str, Any]
    status: str
    score: float | None
    best_epoch: int
    epochs: int
    seconds: float
    ended: float | None
    history: list[float]
    reason: str


def read_trials(folder: Path, objective: str, searched: list[str]) -> list[TrialResult]:
    """The trials of a search in the order they were made; none where it has not begun.

    Args:
        folder: of the search.
        objective: what its trials score.
        searched: the settings it searches.

    Raises:
        InputError: a file cannot be read, or names a trial by something else than its number.
    """
    path = folder / TRIALS / "oracle.json"
    if not path.is_file():
        return []
    try:
        state = json.loads(path.read_text(encoding="utf-8"))
        found = []
        for trial_id in state["start_order"]:
            path = trial_file(folder / TRIALS, trial_id)
            found.append(
                _result(json.loads(path.read_text(encoding="utf-8")), objective, searched, state["ended"])
            )
    except InputError:
        raise
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"`out` should hold readable trials. Received: {path} ({error!r}).") from None
    return found


def trial_file(trials: Path, trial_id: str, name: str = "trial.json") -> Path:
    """A file of a trial.

    Args:
        trials: the folder of all of them.
        trial_id: as a file names it, which may come from elsewhere.
        name: of the file.

    Raises:
        InputError: the id is no number, and so might lead out of the folder.
    """
    plain = isinstance(trial_id, str) and trial_id.isascii() and trial_id.isdigit()
    require(plain, "out", "a folder whose trials have numbers", trial_id)
    return trials / f"trial_{trial_id}" / name


def _result(
    state: dict[str, Any], objective: str, searched: list[str], ended: dict[str, float]
) -> TrialResult:
    metrics = state["metrics"]["metrics"]
    history = [observed["value"][0] for observed in metrics.get(objective, {}).get("observations", [])]
    seconds = [observed["value"][0] for observed in metrics.get("seconds", {}).get("observations", [])]
    trial_id, values = state["trial_id"], state["hyperparameters"]["values"]
    trial_file(Path(), trial_id)  # it names folders
    done = state["status"] == "COMPLETED"
    return TrialResult(
        number=int(trial_id),
        name=f"trial_{trial_id}",
        values={name: values[name] for name in searched},
        status=state["status"],
        score=state["score"] if done else None,
        best_epoch=state["best_step"] + 1 if done else 0,
        epochs=len(history),
        seconds=seconds[-1] if seconds else 0.0,
        ended=ended.get(trial_id),
        history=history,
        reason=state["message"] or "",
    )


def best_first(trials: list[TrialResult]) -> list[TrialResult]:
    """Those that finished, best score first, the earlier of two alike first; then the others."""
    done = sorted((t for t in trials if t.score is not None), key=lambda t: (-t.score, t.number))
    return done + [t for t in trials if t.score is None]
