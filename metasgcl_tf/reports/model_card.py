"""The model card of an exported run."""

from typing import Any

import polars as pl

from metasgcl_tf.names import data_name, name_of, title_of
from metasgcl_tf.reports.markdown import code, markdown_table, plain
from metasgcl_tf.reports.tables import PROTOCOLS
from metasgcl_tf.run_folder import Run
from metasgcl_tf.settings import summary

SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10", "mrr")


def model_card(run: Run, report: dict[str, Any]) -> str:
    """What the model is, what it was trained on, how good it is, and how to ask it, as Markdown.

    Args:
        run: a finished run.
        report: its `metrics.json`.
    """
    config, log = run.config, run.log
    name = name_of(config.training)
    title = title_of(name)
    rows = [(title, report["test"])] + [
        (title_of(other), values["test"]) for other, values in report["baselines"].items()
    ]
    head = ["model", "seen items", *(metric.upper() for metric in SHOWN)]
    figures = [
        [plain(model), protocol, *(f"{test[protocol][metric]:.4f}" for metric in SHOWN)]
        for model, test in rows
        for protocol in PROTOCOLS
    ]
    versions = ", ".join(f"{package} {version}" for package, version in report["versions"].items())
    kind = "text" if log.items.dtype == pl.String else "64-bit integers"
    later = f" and, later, {code(report['update']['data'])}" if "update" in report else ""
    lines = [
        f"# {title} on {plain(data_name(config.data.data))}",
        summary(config.training.model),
        "## Data",
        f"{report['counts']['interactions']:,} interactions of {log.num_users:,} users with "
        f"{log.num_items:,} items, from {code(config.data.data)}{later}; item ids are {kind}.",
        "## Figures",
        f"Protocol: {plain(report['protocol'])}.",
        markdown_table(head, figures, text_columns=2),
        "## How it was made",
        f"{code(report['command'])}, commit {plain(report['commit'])}, seed {report['seed']}, "
        f"{report['seconds']:,.0f} s on {plain(report['machine'])}; {plain(versions)}.",
    ]
    return "\n\n".join(lines) + "\n"
