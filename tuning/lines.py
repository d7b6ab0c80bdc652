"""What a search says after each trial."""

from typing import Any

from keras_tuner.engine.trial import Trial, TrialStatus


def seconds(trial: Trial) -> float:
    """How long a trial took; 0 where it reported nothing."""
    return float(trial.metrics.get_last_value("seconds")) if trial.metrics.exists("seconds") else 0.0


def trial_line(oracle: Any, trial: Trial) -> str:
    """One line: how far the search is, what the trial scored with which values, and the time left."""
    label = f"{len(oracle.end_order)}/{oracle.max_trials} trial_{trial.trial_id}"
    values = ", ".join(
        f"{hp.name} {shown(trial.hyperparameters.values[hp.name])}" for hp in oracle.searched()
    )
    if trial.status == TrialStatus.COMPLETED:
        best = oracle.get_best_trials()[0]
        where = "the best so far" if best is trial else f"best {best.score:.4f}, trial_{best.trial_id}"
        said = f"{objective_title(oracle.objective.name)} {trial.score:.4f} ({where}), {values}"
    else:
        said = f"FAILED: {trial.message or 'see its worker'}; {values}"
    if oracle.finished():
        return f"{label}: {said}; took {duration(seconds(trial))}"
    return f"{label}: {said}; took {duration(seconds(trial))}, about {duration(oracle.seconds_left())} left"


def objective_title(objective: str) -> str:
    """`val_ndcg@10` as people write it."""
    name = objective.removeprefix("val_")
    kept = ", seen items kept," if name.startswith("kept_") else ""
    return f"valid {name.removeprefix('kept_').upper()}{kept}"


def shown(value: Any) -> str:
    """A value of a setting in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def duration(seconds: float) -> str:
    """Seconds as people say it: `45 s`, `12 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60:02d} min"
