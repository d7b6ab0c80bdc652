"""What is kept of a run when its folder goes: one JSON, from which every table of a report can be made."""

import json
import math
import shlex
from pathlib import Path
from typing import Any

from metasgcl_tf.config import build_config, recorded_config
from metasgcl_tf.errors import InputError
from metasgcl_tf.files import write_whole
from metasgcl_tf.names import data_name
from metasgcl_tf.presets import PRESETS
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN

NEEDED = ("config", "counts", "seconds", "seed", "commit", "command", "machine", "versions", "valid", "test")


def write_result(path: Path, report: dict[str, Any]) -> None:
    """Writes the report of a run (its `metrics.json` and more) without the places of this machine."""
    kept = report | {
        "dataset": data_name(report["dataset"]),
        "command": without_folders(report["command"]),
        "config": without_places(recorded_config(report["config"]).flat()),
    }
    write_whole(path, json.dumps(kept, indent=1) + "\n")


def read_result(path: Path) -> dict[str, Any]:
    """What was kept of a run; empty where there is no such file.

    Raises:
        InputError: it cannot be read, or lacks what a report needs.
    """
    if not path.is_file():
        return {}
    found = read_json(path)
    missing = [key for key in NEEDED if not isinstance(found, dict) or key not in found]
    if missing:
        raise InputError(f"`out` should hold results with `{missing[0]}`. Received: {path}, without it.")
    lacks = [
        f"{protocol} {metric}"
        for protocol in PROTOCOLS
        for metric in SHOWN
        if not isinstance(found["test"].get(protocol, {}).get(metric), float | int)
    ]
    if lacks:
        raise InputError(f"`out` should hold results with test {lacks[0]}. Received: {path}, without it.")
    try:
        recorded_config(found["config"])
    except (InputError, TypeError, AttributeError) as error:
        reason = f"{path}, whose configuration is none ({error})"
        raise InputError(f"`out` should hold results of this version. Received: {reason}.") from None
    return found


def read_json(path: Path) -> Any:
    """What a file of results holds; empty where there is none.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except (OSError, ValueError) as error:
        raise InputError(f"`out` should hold readable results. Received: {path} ({error}).") from None


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """A configuration by the names of its data set and preset, wherever the file lies.

    Two runs with the same one are the same run. Keys that are left out have the preset's values.
    """
    flat = build_config(config).flat()
    name = data_name(flat["data"])
    preset = flat["preset"] or flat["data"]
    return flat | {"data": name, "preset": preset if preset in PRESETS else None, "manual_dir": None}


def without_folders(command: str) -> str:
    """A command with the last part of each path."""

    def short(word: str) -> str:
        key, equals, value = word.rpartition("=")
        return f"{key}{equals}{Path(value).name}" if "/" in value else word

    return shlex.join(map(short, shlex.split(command)))


def epochs_trained(history: Path) -> int | None:
    """Epochs in the `history.csv` of a run; None where nothing was fitted."""
    if not history.is_file():
        return None
    return max(0, len(history.read_text(encoding="utf-8").splitlines()) - 1)


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> dict[str, Any]:
    """Keys of one configuration whose values are not those of another, with its values."""
    return {key: value for key, value in found.items() if wanted.get(key, math.nan) != value}
