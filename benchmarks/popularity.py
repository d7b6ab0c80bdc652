"""How the figures of Pop hang on what the paper leaves open: `python -m benchmarks.popularity --data LOG`.

Writes `popularity.json` beside the leaderboard of the log: the ranks of the test items by the number of
interactions, counted with and without the validation items, ties against the target and for it.
"""

import argparse
import itertools
import json
from pathlib import Path

import numpy as np
import polars as pl

from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.evaluation import report_of
from metasgcl_tf.names import data_name
from metasgcl_tf.provenance import made_by

RESULTS = Path(__file__).parent / "results"
COUNTED = {"training items": False, "training and validation items": True}
TIES = {"against": np.greater_equal, "for": np.greater}


def ranks(split: Split, with_validation: bool, ties: str) -> pl.DataFrame:
    """Ranks of the test items among all, seen items masked and kept."""
    log, counts = split.log, split.item_counts().copy()
    valid_at, test_at = split.target_position("valid"), split.target_position("test")
    if with_validation:
        np.add.at(counts, log.item_index[valid_at], 1)
    found = {"masked": [], "kept": []}
    for user, position in zip(split.evaluated, test_at, strict=True):
        target = log.item_index[position]
        not_worse = TIES[ties](counts, counts[target])
        not_worse[0], not_worse[target] = False, True
        found["kept"].append(not_worse.sum())
        not_worse[np.setdiff1d(log.item_index[log.offsets[user] : position], [target])] = False
        found["masked"].append(not_worse.sum())
    return pl.DataFrame(found)


def main() -> None:
    """Counts and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    data = parser.parse_args().data
    split = leave_one_out(load(data))
    rows = []
    for (counted, with_validation), ties in itertools.product(COUNTED.items(), TIES):
        test = report_of(ranks(split, with_validation, ties))
        rows.append({"counted": counted, "ties": ties, "test": test})
    found = made_by() | {"dataset": data, "rows": rows}
    path = RESULTS / data_name(data) / "popularity.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
