"""Our best models on the paper's logs, beside figures that others publish for the same logs."""

from pathlib import Path

from benchmarks.measured import measured
from metasgcl_tf.names import title_of
from metasgcl_tf.reports import paper
from metasgcl_tf.reports.leaderboard import mean_and_deviation
from metasgcl_tf.reports.leaderboard_files import number
from metasgcl_tf.reports.markdown import markdown_table
from metasgcl_tf.reports.tables import PROTOCOLS
from metasgcl_tf.run_plan import planned, seeds_of

RESULTS = Path(__file__).parent / "results" / "paper"
SEEDS = range(1, 10)
DATA = ("toys", "clothing", "ml-1m")
OURS = ("hybrid:meta_sgcl", "meta_sgcl", "sasrec", "item_cooccurrence")
SHOWN = tuple((protocol, name) for protocol in PROTOCOLS for name in ("hr@10", "ndcg@10"))
HEAD = ["data", "model", *(f"{name.upper()}, {protocol}" for protocol, name in SHOWN), "seeds"]
PAPER = "Meta-SGCL in its paper"
# What the authors' repository prints for its own model of each log, seen items masked.
ICSREC = "[ICSRec](https://github.com/QinHsiu/ICSRec), by its authors"
ICSREC_FIGURES = {
    "toys": {"hr@10": 0.1055, "ndcg@10": 0.0657},
    "ml-1m": {"hr@10": 0.3369, "ndcg@10": 0.2007},
}


def best_block() -> str:
    """A table of the three logs: our models, then what others publish."""
    rows = []
    for data in DATA:
        for name in OURS:
            plans = [planned(name, seed, {}, RESULTS / data, kept=True) for seed in seeds_of(name, SEEDS)]
            runs = [measured(each.kept) for each in plans if each.kept.exists()]
            found = [[run["test"][protocol][metric] for run in runs] for protocol, metric in SHOWN]
            cells = [number(**mean_and_deviation(values)) for values in found]
            rows.append([data, title_of(name), *cells, str(len(runs))])
        others = {PAPER: paper.figures(paper.dataset_of(runs[0]["counts"]), "meta_sgcl")}
        if data in ICSREC_FIGURES:
            others[ICSREC] = ICSREC_FIGURES[data]
        for who, said in others.items():
            rows.append([data, who, f"{said['hr@10']:.4f}", f"{said['ndcg@10']:.4f}", "", "", ""])
    return markdown_table(HEAD, rows, 2) + "\n"
