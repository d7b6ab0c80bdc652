"""The best configuration of a search: which it is, and what it reaches with the whole budget."""

from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from metasgcl_tf.errors import InputError
from metasgcl_tf.files import write_whole
from metasgcl_tf.run_folder import can_be_resumed, read_metrics
from metasgcl_tf.run_plan import PlannedRun
from metasgcl_tf.training import resume, train
from metasgcl_tf.tuning.lines import objective_title, shown
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.trials import TrialResult, best_first, read_trials

RUN, CONFIG = "best", "best.yaml"


def train_best(search: Search, folder: Path, console: Console) -> dict[str, Any]:
    """Writes `best.yaml` and trains it in `best/`, unless that is there; returns its report.

    Raises:
        InputError: no trial finished.
    """
    trials = read_trials(folder, search.objective, list(search.space))
    best = best_first(trials)[0]
    if best.score is None:
        raise InputError(
            f"A search should have a trial that finishes; none of {len(trials)} in {folder} did. "
            f"Received: {best.name}: {best.reason}"
        )
    console.print(verdict(trials, search.objective), highlight=False, markup=False, soft_wrap=True)
    config, run = search.best_config(best.values), folder / RUN
    write_whole(folder / CONFIG, yaml.safe_dump(config.flat(), sort_keys=False))
    if PlannedRun(search.config.training.model, config.flat(), run).finished():
        return read_metrics(run)
    epochs = config.training.epochs
    console.print(f"Training it, up to {epochs} epochs.", highlight=False, markup=False, soft_wrap=True)
    if can_be_resumed(run, config):
        return resume(run, console=console)
    return train(config, run, overwrite=run.exists(), console=console)


def verdict(trials: list[TrialResult], objective: str) -> str:
    """The best trial beside the preset's, in words."""
    best, preset, title = best_first(trials)[0], trials[0], objective_title(objective)
    found = f"{title} {best.score:.4f} in {best.name}"
    values = ", ".join(f"{name} {shown(value)}" for name, value in best.values.items())
    if best is preset:
        return f"The preset is the best point that the search found: {found} ({values})."
    if preset.score is None:
        return f"Best: {found} ({values}). The preset, {preset.name}, did not finish."
    gain = f" ({best.score / preset.score - 1:+.1%})" if preset.score else ""
    return f"Best: {found} ({values}), against {preset.score:.4f} of the preset, {preset.name}{gain}."
