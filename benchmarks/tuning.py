"""Keeps what a search found: `python -m benchmarks.tuning runs/tune-toys`."""

import argparse
import dataclasses
import json
from pathlib import Path

from metasgcl_tf.names import data_name
from metasgcl_tf.reports.markdown import markdown_table
from metasgcl_tf.reports.tables import PROTOCOLS, SHOWN
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.tuning.best import RUN, verdict
from metasgcl_tf.tuning.importance import importance
from metasgcl_tf.tuning.lines import duration, shown
from metasgcl_tf.tuning.search import read_search
from metasgcl_tf.tuning.trials import TrialResult, best_first, read_trials

RESULTS = Path(__file__).parent / "results" / "tuning"


def collected(folder: Path) -> dict:
    """A search, its trials and the run of the best one, as one JSON file has them."""
    search = read_search(folder)
    trials = read_trials(folder, search["objective"], list(search["space"]))
    run = read_metrics(folder / RUN)
    best_run = {key: run[key] for key in ("seed", "commit", "command", "seconds", "config", "valid", "test")}
    return search | {"found": [dataclasses.asdict(trial) for trial in trials], "best_run": best_run}


def tuning_block(found: dict) -> str:
    """The search in a few sentences and a table of its trials, best first."""
    trials = [TrialResult(**trial) for trial in found["found"]]
    names, run = list(found["space"]), found["best_run"]
    rows = [
        [trial.name + (" (the preset)" if trial is trials[0] else ""), f"{trial.score:.4f}"]
        + [shown(trial.values[name]) for name in names]
        for trial in best_first(trials)
        if trial.score is not None
    ]
    counted = importance(trials, found["space"])
    shares = ", ".join(f"{name} {share:.0%}" for name, share in counted.shares.items()) if counted else "-"
    test = "; ".join(
        f"{protocol} " + ", ".join(f"{name.upper()} {run['test'][protocol][name]:.4f}" for name in SHOWN)
        for protocol in PROTOCOLS
    )
    spent = duration(sum(trial.seconds for trial in trials))
    data, explained = data_name(found["config"]["data"]), counted.explained if counted else 0.0
    return "\n\n".join(
        [
            f"{data}: {len(trials)} trials of {found['epochs']} epochs, {spent} in all. "
            f"{verdict(trials, found['objective'])} How much each setting matters, by a forest that explains "
            f"{explained:.0%} of the variance of trials it has not seen: {shares}.",
            f"The best settings, trained for up to {run['config']['epochs']} epochs: validation NDCG@10 "
            f"{run['valid']['masked']['ndcg@10']:.4f}; test {test}. One seed.",
            markdown_table(["trial", "valid NDCG@10", *names], rows),
            f"`{found['command']}` at commit {found['commit'][:10]}, {found['machine']}, beside "
            "other work; [each trial](../benchmarks/results/tuning/toys.json).",
        ]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tuning", description=__doc__)
    parser.add_argument("folder", type=Path, help="of `metasgcl tune`, finished")
    found = collected(parser.parse_args().folder)
    path = RESULTS / f"{data_name(found['config']['data'])}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(path)
