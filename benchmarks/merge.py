"""Puts the rows of a later comparison into a committed leaderboard: `python -m benchmarks.merge NEW FOLDER`.

A comparison takes a night, and its run folders may be gone when one model gets a better preset. Every row
keeps the commit, command and machine of its own runs.
"""

import argparse
import json
import re
from pathlib import Path

from metasgcl_tf.reports.leaderboard_files import write_leaderboard

THEN = "`, then `"  # between commands in code


def merged(old: dict, new: dict) -> dict:
    """The old leaderboard with the rows of the new one in place of those of the same name.

    Raises:
        ValueError: the two are of different logs or protocols.
    """
    for key in ("counts", "protocol"):
        if old[key] != new[key]:
            raise ValueError(f"`{key}` should be the same in both. Received: {old[key]!r} and {new[key]!r}.")
    replaced = {row["name"] for row in new["rows"]}
    rows = [row for row in old["rows"] if row["name"] not in replaced] + new["rows"]
    rows.sort(key=lambda row: -row["valid_ndcg@10"])
    test, first_two = old["paired_test"], [row["name"] for row in rows[:2]]
    # It needs the ranks of every user, which a leaderboard does not hold.
    still_holds = test and [test["best"], test["second"]] == first_two and not replaced & set(first_two)
    failures = [failure for failure in old["failures"] if failure["name"] not in replaced]
    return old | {
        "command": THEN.join(_that_count([*old["command"].split(THEN), new["command"]])),
        "rows": rows,
        "paired_test": test if still_holds else None,
        "failures": failures + new["failures"],
    }


def _that_count(commands: list[str]) -> list[str]:
    """Commands without those whose models were all compared again by later ones."""
    named = [re.search(r"--models (\S+)", command) for command in commands]
    models = [set(found[1].split(",")) if found else {"all"} for found in named]
    later = [set().union(*models[place + 1 :]) for place in range(len(models))]
    return [command for command, own, again in zip(commands, models, later, strict=True) if own - again]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.merge", description=__doc__)
    parser.add_argument("new", type=Path, help="leaderboard.json of the later comparison")
    parser.add_argument("folder", type=Path, help="of the leaderboard to renew, in benchmarks/results")
    arguments = parser.parse_args()
    boards = [arguments.folder / "leaderboard.json", arguments.new]
    old, new = (json.loads(path.read_text(encoding="utf-8")) for path in boards)
    for path in write_leaderboard(merged(old, new), arguments.folder):
        print(path)
