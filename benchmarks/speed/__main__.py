"""Measures speed and memory beside RecBole and RecTools, each in an environment of its own.

    python -m benchmarks.speed --data toys.txt.gz --long-data ml-1m.txt.gz

Needs the extra `dev` and, for the peers, a few GB for two virtual environments with PyTorch. The
contenders take turns, one process at a time, for several rounds; what is reported are medians over the
rounds. Run it on an otherwise idle machine. Writes `benchmarks/results/speed/speed.json`, from which
`benchmarks.speed.report` makes the tables and the plot.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.speed import report
from benchmarks.speed.environments import peer_python
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.provenance import made_by

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "max_length": 50,
    "hidden_dim": 64,
    "num_layers": 2,
    "num_heads": 2,
    "dropout": 0.5,
    "learning_rate": 0.001,
    "batch_size": 256,
}
# Name -> (whose script, what differs from SETTINGS). The names are those of the report.
CONTENDERS: dict[str, tuple[str, dict[str, Any]]] = {
    "RecBole SASRec": ("recbole", {"model": "SASRec"}),
    "RecBole FEARec": ("recbole", {"model": "FEARec"}),
    "RecBole FEARec, as shipped": ("recbole", {"model": "FEARec", "detect_anomaly": True}),
    "RecTools SASRec": ("rectools", {"model": "SASRec"}),
    "SASRec": ("ours", {"model": "sasrec", "every_prefix": False}),
    "SASRec, every prefix": ("ours", {"model": "sasrec", "every_prefix": True}),
    "Meta-SGCL": ("ours", {"model": "meta_sgcl", "every_prefix": False}),
    "Meta-SGCL, every prefix": ("ours", {"model": "meta_sgcl", "every_prefix": True}),
    "Meta-SGCL, joint": (
        "ours",
        {"model": "meta_sgcl", "every_prefix": False, "options": {"training": "joint"}},
    ),
}
LONG = {"max_length": 200, "batch_size": 128, "dropout": 0.1, "eval_users": 0}
CATALOGUES = [
    {"num_items": num_items, "item_loss": loss, "optimizer": optimizer}
    for num_items in (10**4, 10**5, 10**6)
    for loss, optimizer in (
        ("softmax", "row_wise"),
        ("sampled_softmax", "dense"),
        ("sampled_softmax", "row_wise"),
        ("gbce", "row_wise"),
    )
]


def environment(threads: int) -> dict[str, str]:
    """The environment variables that give every contender the same number of threads."""
    names = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    return os.environ | dict.fromkeys(names, str(threads)) | quiet


def run(command: list[Any], settings: dict[str, Any], threads: int, data: Path | None = None) -> dict:
    """Runs one measuring script in a process of its own and returns what it wrote."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "result.json"
        arguments = ["--settings", json.dumps(settings), "--out", str(out)]
        arguments += ["--data", str(data)] if data else []
        done = subprocess.run(
            [*command, *arguments], env=environment(threads), cwd=ROOT, capture_output=True, text=True
        )
        if done.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stderr[-2000:]}")
        return json.loads(out.read_text(encoding="utf-8"))


def scripts(peers: list[str], environments: Path) -> dict[str, list[Any]]:
    """The command of each side's measuring script; makes the peers' environments if need be."""
    folder = Path(__file__).parent / "peers"
    found = {name: [peer_python(name, environments), folder / f"{name}_run.py"] for name in peers}
    return found | {"ours": [sys.executable, "-m", "benchmarks.speed.ours_run"]}


def write_log(source: str, path: Path) -> Path:
    """The 5-core of a log as arrays, the same for every contender."""
    log = load(source)
    np.savez(path, items=log.item_index, offsets=log.offsets)
    return path


def padding(source: str, max_length: int, batch_size: int = 64) -> dict[str, float]:
    """The share of computed positions that are padding in an epoch of each recipe."""
    split = leave_one_out(load(source))
    shares = {}
    for recipe in (pipelines.all_position_windows, pipelines.prefix_windows):
        windows = recipe(split, max_length)
        lengths, buckets = windows.end - windows.begin, pipelines.length_buckets(max_length)
        computed = 0
        for batch in pipelines.epoch_plan(lengths, buckets, batch_size, seed=1, epoch=0):
            of_batch = lengths[batch[batch >= 0]]
            computed += len(of_batch) * buckets[np.searchsorted(buckets, of_batch.max())]
        shares[recipe.__name__.removesuffix("_windows")] = float(1 - lengths.sum() / computed)
    return shares


def rounds(
    count: int, commands: dict[str, list[Any]], data: Path, settings: dict[str, Any]
) -> Iterator[tuple[str, dict]]:
    """Every contender once in each round."""
    for number in range(count):
        for name, (side, differs) in CONTENDERS.items():
            if side in commands:
                print(f"round {number + 1} of {count}: {name}", flush=True)
                given = settings | {"name": name} | differs
                yield name, run(commands[side], given, settings["threads"], data)


def main() -> None:
    """Reads the command line, measures, writes the results and prints the table."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="a log, or a name such as toys")
    parser.add_argument(
        "--long-data", help="a log with long histories, or a name such as ml-1m, for the memory"
    )
    parser.add_argument("--padding-of", nargs="*", default=[], help="more logs to count the padding of")
    parser.add_argument(
        "--peers", nargs="*", choices=("recbole", "rectools"), default=["recbole", "rectools"]
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train-seconds", type=float, default=20.0, help="training timed in each round")
    parser.add_argument("--eval-users", type=int, default=4000, help="users that the peers rank")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--environments", type=Path, default=Path.home() / ".cache" / "metasgcl-peers")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "speed")
    arguments = parser.parse_args()
    timed = {name: getattr(arguments, name) for name in ("train_seconds", "eval_users", "threads")}
    settings = SETTINGS | timed

    commands = scripts(arguments.peers, arguments.environments)
    kernels = [sys.executable, "-m", "benchmarks.speed.kernels_run"]
    found: dict[str, Any] = {
        **made_by(),
        "data": arguments.data,
        "settings": settings,
        "contenders": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        data = write_log(arguments.data, Path(folder) / "log.npz")
        found["padding"] = {source: padding(source, 50) for source in (arguments.data, *arguments.padding_of)}
        for name, result in rounds(arguments.rounds, commands, data, settings):
            found["contenders"].setdefault(name, []).append(result)
        if arguments.long_data:
            long = write_log(arguments.long_data, Path(folder) / "long.npz")
            found["long"] = {}
            found["padding"][arguments.long_data] = padding(arguments.long_data, LONG["max_length"])
            for name in ("SASRec", "Meta-SGCL"):
                given = settings | {"name": name} | CONTENDERS[name][1] | LONG
                found["long"][name] = run(commands["ours"], given, arguments.threads, long)
    softmax = [run(kernels, {"kernel": "softmax"}, arguments.threads) for _ in range(arguments.rounds)]
    found["softmax"], found["xla"] = softmax, run(kernels, {"kernel": "xla"}, arguments.threads)
    found["catalogue"] = [
        case | run(kernels, {"kernel": "catalogue"} | case, arguments.threads) for case in CATALOGUES
    ]
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "speed.json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    report.main(arguments.out)


if __name__ == "__main__":
    main()
