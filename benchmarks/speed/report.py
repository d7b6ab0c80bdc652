"""Tables and a plot from what `benchmarks.speed` measured: `python -m benchmarks.speed.report [FOLDER]`."""

import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metasgcl_tf.names import data_name
from metasgcl_tf.reports.markdown import markdown_table

RESULTS = Path(__file__).resolve().parents[1] / "results" / "speed"
# What is compared: title, metric, ours, theirs, the least ratio asked for.
COMPARED = [
    ("training", "targets_per_second", "Meta-SGCL, every prefix", "RecBole FEARec", 8),
    ("training", "targets_per_second", "Meta-SGCL, every prefix", "RecBole FEARec, as shipped", None),
    ("training", "targets_per_second", "SASRec", "RecBole SASRec", 8),
    ("training", "targets_per_second", "SASRec, every prefix", "RecBole SASRec", None),
    ("training", "targets_per_second", "SASRec", "RecTools SASRec", 3),
    ("full ranking", "evaluation_users_per_second", "SASRec", "RecBole SASRec", 5),
    ("full ranking", "evaluation_users_per_second", "Meta-SGCL", "RecBole FEARec", 5),
    ("full ranking", "evaluation_users_per_second", "SASRec", "RecTools SASRec", None),
]
COLUMNS: list[tuple[str, Callable[[dict], float | None], str]] = [
    ("targets/s", lambda r: r["targets_per_second"], "{:,.0f}"),
    ("s/epoch", lambda r: r["seconds_per_epoch"], "{:,.1f}"),
    ("peak MB", lambda r: r["peak_memory_mb"], "{:,.0f}"),
    ("ranked users/s", lambda r: r["evaluation_users_per_second"], "{:,.0f}"),
    ("top-10 ms, 1 user", lambda r: r["top10_ms_1"], "{:.1f}"),
    ("256 users", lambda r: r["top10_ms_256"], "{:.1f}"),
]


NOTES = """\
RecBole trains with PyTorch's anomaly detection on, because one of the models it imports switches it on for
all; it is measured without, and FEARec once more as it is shipped. FEARec has a contrastive loss only if
`contrast` is set; it is set as in its authors' command. RecBole ranks its sequential models without masking
what a user has seen; RecTools' ranking is its `recommend`, without metrics. Every package trains on its own
kind of sample: RecBole on every prefix, RecTools on every position of histories padded to L. A target is one
next item to predict, padding is none. Top-10 is what a caller waits for: `recommend` of ours and of RecTools,
the bare model and `topk` of RecBole."""
QUALITY = ("hr@10", "ndcg@10")


def median(results: list[dict], value: Callable[[dict], float]) -> float:
    """Median over the rounds."""
    return statistics.median(value(result) for result in results)


def contenders_table(found: dict[str, Any]) -> str:
    """What each contender reached, medians over the rounds."""
    rows = [
        [name, *(form.format(median(results, value)) for _, value, form in COLUMNS)]
        for name, results in found["contenders"].items()
    ]
    return markdown_table(["", *(title for title, _, _ in COLUMNS)], rows)


def ratios(found: dict[str, Any], metric: str, ours: str, theirs: str) -> list[float]:
    """Ours over theirs, round by round."""
    pairs = zip(found["contenders"][ours], found["contenders"][theirs], strict=True)
    return [one[metric] / other[metric] for one, other in pairs]


def goals(found: dict[str, Any]) -> list[tuple[str, str, str, bool | None]]:
    """What is asked for: title, wanted, measured, and whether it was met (None: nothing is asked)."""
    contenders = found["contenders"]
    rows: list[tuple[str, str, str, bool | None]] = []
    for what, metric, ours, theirs, wanted in COMPARED:
        if theirs in contenders:
            values = ratios(found, metric, ours, theirs)
            middle = statistics.median(values)
            measured = f"{middle:.1f}x ({min(values):.1f} to {max(values):.1f})"
            met = None if wanted is None else middle >= wanted
            rows.append((f"{what}: {ours} / {theirs}", f"{wanted}x" if wanted else "-", measured, met))

    def at_most(title: str, value: float, wanted: float, unit: str) -> None:
        rows.append((title, f"at most {wanted:,g}{unit}", f"{value:,.2f}{unit}", value <= wanted))

    two_step, joint = contenders["Meta-SGCL"], contenders["Meta-SGCL, joint"]
    steps = [a["seconds_per_epoch"] / b["seconds_per_epoch"] for a, b in zip(two_step, joint, strict=True)]
    at_most("Meta-SGCL: two-step update / joint update", statistics.median(steps), 1.3, "x")
    softmax = median(found["softmax"], lambda r: r["fused_over_bare"])
    at_most("catalogue softmax, forward and backward / its three bare products", softmax, 2, "x")
    for name, result in found.get("long", {}).items():
        at_most(f"peak memory, L = 200, batch 128: {name}", result["peak_memory_mb"] / 1024, 2, " GB")
    for data, shares in found["padding"].items():
        at_most(f"padding, {data_name(data)}, the more of both recipes", 100 * max(shares.values()), 15, " %")
    users = 19_412
    for name in ("SASRec", "Meta-SGCL"):
        speed = median(contenders[name], lambda r: r["evaluation_users_per_second"])
        at_most(f"full ranking of {users:,} users: {name}", users / speed, 3, " s")
        at_most(f"top-10 of one user: {name}", median(contenders[name], lambda r: r["top10_ms_1"]), 3, " ms")
        many = median(contenders[name], lambda r: r["top10_ms_256"])
        at_most(f"top-10 of 256 users: {name}", many, 30, " ms")
    ours = [r for results in contenders.values() for r in results if "pipeline_targets_per_second" in r]
    slowest = min(r["pipeline_targets_per_second"] / r["targets_per_second"] for r in ours)
    rows.append(
        (
            "data pipeline alone / training, the lowest of all runs",
            "over 10x",
            f"{slowest:.0f}x",
            slowest > 10,
        )
    )
    return rows


def goals_table(found: dict[str, Any]) -> str:
    """The goals, one a row."""
    marks = {True: "yes", False: "**no**", None: "-"}
    rows = [[title, wanted, measured, marks[met]] for title, wanted, measured, met in goals(found)]
    return markdown_table(["", "wanted", "measured", "met"], rows)


def catalogue_table(found: dict[str, Any]) -> str:
    """Step time and memory of each loss by size of the catalogue."""
    rows = [
        [
            f"{case['num_items']:,}",
            f"{case['item_loss']}, {'row-wise' if case['optimizer'] == 'row_wise' else 'Keras'} Adam",
            f"{case['step_ms']:,.0f}",
            f"{case['peak_memory_mb']:,.0f}",
        ]
        for case in found["catalogue"]
    ]
    return markdown_table(["items", "loss and optimizer", "ms a step", "peak MB"], rows)


def quality_table(results: Path) -> str:
    """What Meta-SGCL reaches on toys, before the work on speed and in the newest comparison."""
    before = json.loads((results / "speed" / "before" / "toys-meta_sgcl-seed1.json").read_text("utf-8"))
    board = json.loads((results / "toys" / "leaderboard.json").read_text("utf-8"))
    (row,) = (row for row in board["rows"] if row["name"] == "meta_sgcl")
    kinds = [(kind, name) for kind in ("masked", "kept") for name in QUALITY]
    rows = [
        ["before", *(f"{before['test'][kind][name]:.4f}" for kind, name in kinds), before["commit"][:10]],
        [
            "now",
            *(f"{row['test'][kind][name]['mean']:.4f}" for kind, name in kinds),
            row["runs"][0]["commit"][:10],
        ],
    ]
    head = ["toys, Meta-SGCL, test", *(f"{name.upper()} {kind}" for kind, name in kinds), "commit"]
    return markdown_table(head, rows)


def profile_table(path: Path) -> str:
    """Where the time of Meta-SGCL goes: shares of what the operations took, summed over the threads."""
    found = json.loads(path.read_text(encoding="utf-8"))
    parts = {name: value for name, value in found.items() if isinstance(value, dict) and name != "versions"}
    groups = dict.fromkeys(group for times in parts.values() for group in times)
    rows = [
        [group, *(f"{100 * times.get(group, 0) / sum(times.values()):.0f} %" for times in parts.values())]
        for group in groups
    ]
    made = f"Made by `{found['command']}` at commit {found['commit']}."
    return markdown_table(["Meta-SGCL", *parts], rows) + f"\n\n{made}"


def machine_lines(found: dict[str, Any]) -> str:
    """What the machine can do, and how much of it the softmax uses."""
    rate = median(found["softmax"], lambda r: r["square_gflop_per_second"])
    shape = median(found["softmax"], lambda r: r["softmax_shape_gflop_per_second"])
    used = median(
        found["softmax"],
        lambda r: r["softmax_shape_gflop_per_second"] / r["fused_over_bare"] / r["square_gflop_per_second"],
    )
    plain = median(found["softmax"], lambda r: r["plain_over_bare"])
    xla = found["xla"]["xla_step_ms"] / found["xla"]["step_ms"]
    sentences = [
        f"{found['machine']}, {found['settings']['threads']} threads.",
        f"Matrix products: {rate:.0f} GFLOP/s at 2048 x 2048,",
        f"{shape:.0f} at the softmax' shapes (2,000 targets, 11,924 items, D 64).",
        f"Our softmax with both gradients runs at {100 * used:.0f} % of the first rate;",
        f"the plain form takes {plain:.1f} times its bare products.",
        f"A SASRec step compiled by XLA takes {xla:.1f} times as long as one without; XLA is off on a CPU.",
        "No GPU was at hand.",
    ]
    return " ".join(sentences)


def plot(found: dict[str, Any], path: Path) -> None:
    """Bars of training and ranking speed, one a contender."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(found["contenders"])[::-1]
    panels = [
        ("targets_per_second", "training, targets/s"),
        ("evaluation_users_per_second", "full ranking, users/s"),
    ]
    figure, axes = plt.subplots(1, 2, figsize=(11, 3.6), sharey=True, layout="constrained")
    for axis, (metric, title) in zip(axes, panels, strict=True):
        values = [median(found["contenders"][name], lambda r, m=metric: r[m]) for name in names]
        colours = ["#b0b0b0" if name.startswith("Rec") else "#2a6f97" for name in names]
        bars = axis.barh(names, values, color=colours)
        axis.bar_label(bars, [f"{value:,.0f}" for value in values], padding=3)
        axis.set_xscale("log")
        axis.set_xlim(left=100, right=max(values) * 6)
        axis.minorticks_off()
        axis.set_title(f"{title} (log scale)")
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=130)


def markdown(found: dict[str, Any]) -> str:
    """The whole report."""
    rounds = len(next(iter(found["contenders"].values())))
    settings = {k: v for k, v in found["settings"].items() if k not in ("eval_users", "train_seconds")}
    return "\n\n".join(
        [
            f"Medians of {rounds} interleaved rounds on {data_name(found['data'])}; "
            + ", ".join(f"{name} {value}" for name, value in settings.items())
            + ".",
            machine_lines(found),
            goals_table(found),
            contenders_table(found),
            NOTES.replace("\n", " "),
            "Where the time goes, which is what limits the goals that were missed:",
            profile_table(RESULTS / "profile.json"),
            "SASRec with 64 sequences of 20 by size of the catalogue (random items, D 64):",
            catalogue_table(found),
            "The quality is the same within the differences between seeds:",
            quality_table(RESULTS.parent),
            f"Made by `{found['command']}` at commit {found['commit']}.",
        ]
    )


def main(folder: Path = RESULTS) -> None:
    """Writes the report and the plot beside the results, and prints the report."""
    found = json.loads((folder / "speed.json").read_text(encoding="utf-8"))
    text = markdown(found)
    (folder / "speed.md").write_text(
        f"# Speed and memory\n\n{text}\n\n![speed](speed.png)\n", encoding="utf-8"
    )
    plot(found, folder / "speed.png")
    print(text)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
