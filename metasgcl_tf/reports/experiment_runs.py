"""What a report says of its runs: how to repeat each, and what differs from the preset."""

from collections.abc import Sequence
from typing import Any

from metasgcl_tf.config import recorded_config
from metasgcl_tf.names import name_of
from metasgcl_tf.reports.experiment_tables import NOTHING, Section
from metasgcl_tf.results import differences, without_places

RUNS_HEAD = [
    "run",
    "seed",
    "over the preset",
    "valid NDCG@10",
    "epochs",
    "seconds",
    "commit",
    "machine",
    "command",
]
RUNS_TEXT_COLUMNS = len(RUNS_HEAD)


def runs_table(sections: Sequence[Section]) -> list[list[str]]:
    """Rows of `RUNS_HEAD`, each run once however many experiments share it."""
    rows = {}
    for section in sections:
        for result in section.results:
            for report in result.reports:
                row = _row(section.data, report)
                rows.setdefault(tuple(row), row)
    return list(rows.values())


def _row(data: str, report: dict[str, Any]) -> list[str]:
    valid = report.get("valid", {}).get("masked", {}).get("ndcg@10")
    epochs = report.get("epochs_trained")
    return [
        f"{data}: {name_of_run(report)}",
        str(report["seed"]),
        ", ".join(f"{key}={value}" for key, value in over_preset(report).items()) or NOTHING,
        NOTHING if valid is None else f"{valid:.4f}",
        str(epochs or NOTHING),
        f"{report['seconds']:,.0f}",
        short_commit(report["commit"]),
        f"{report['machine']}, TensorFlow {report['versions'].get('tensorflow', '?')}",
        report["command"],
    ]


def name_of_run(report: dict[str, Any]) -> str:
    """What was trained, see `metasgcl_tf.names`."""
    return name_of(recorded_config(report["config"]).training)


def short_commit(commit: str | None) -> str:
    """The first ten characters, and whether there were changes on top."""
    commit, dash, dirty = (commit or "?").partition("-")
    return commit[:10] + dash + dirty


def over_preset(report: dict[str, Any]) -> dict[str, Any]:
    """The settings of a run that are neither the preset's nor its variant's nor the seed."""
    config = without_places(recorded_config(report["config"]).flat())
    named = ("data", "preset", "model", "variant", "hybrid", "seed")
    return differences(config, without_places({key: config[key] for key in named}))
