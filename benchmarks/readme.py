"""Rewrites the tables of README.md from `benchmarks/results/`: `python -m benchmarks.readme`."""

import json
import re
from pathlib import Path

from benchmarks.speed import report
from metasgcl_tf.models import MODELS

ROOT = Path(__file__).parent.parent
SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10")


def results_block() -> str:
    """A Markdown table with two rows a run and baseline, and what it takes to repeat each run."""
    head = ["data", "model", "seen items", *(name.upper() for name in SHOWN), "seed", "minutes"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    commands = []
    for path in sorted((ROOT / "benchmarks" / "results").glob("*.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        check_clean(path, run["commit"])
        data = Path(run["dataset"]).name.split(".")[0]
        rows = {MODELS[name].title: (values["test"], "-", "-") for name, values in run["baselines"].items()}
        rows[MODELS[run["model"]].title] = (run["test"], str(run["seed"]), f"{run['seconds'] / 60:.0f}")
        if "best_possible" in run:
            rows["best possible"] = (run["best_possible"]["test"], "-", "-")
        for model, (test, seed, minutes) in rows.items():
            for protocol in ("masked", "kept"):
                numbers = [f"{test[protocol][name]:.4f}" for name in SHOWN]
                lines.append("| " + " | ".join([data, model, protocol, *numbers, seed, minutes]) + " |")
        commands.append(
            f"- {data}: `{run['command']}` at commit {run['commit'][:10]}, {run['machine']}, TensorFlow "
            f"{run['versions']['tensorflow']} ([{path.name}](benchmarks/results/{path.name}))"
        )
    return "\n".join([*lines, "", "How each was made:", "", *commands, ""])


def speed_block() -> str:
    """What was asked of speed and memory and what was measured, and on which machine."""
    found = json.loads((report.RESULTS / "speed.json").read_text(encoding="utf-8"))
    check_clean(report.RESULTS / "speed.json", found["commit"])
    return f"{report.machine_lines(found)}\n\n{report.goals_table(found)}\n"


def check_clean(path: Path, commit: str | None) -> None:
    """Refuses to report what no checkout can repeat."""
    if not commit or commit.endswith("-dirty"):
        raise SystemExit(f"{path}: a reported run needs a clean checkout. Received: {commit}.")


def updated(readme: str) -> str:
    """The README with its generated blocks made anew."""
    for name, text in (("results", results_block()), ("speed", speed_block())):
        block = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        readme = block.sub(lambda found, text=text: found[1] + text + found[2], readme)
    return readme


if __name__ == "__main__":
    path = ROOT / "README.md"
    path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")
