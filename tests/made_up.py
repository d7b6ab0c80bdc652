"""Stands for training where a test is about what is trained and what is made of it."""

import json

import numpy as np
import polars as pl

from metasgcl_tf import comparing
from metasgcl_tf.provenance import made_by

USERS = 8


class MadeUp:
    """Stands for training: writes what a run leaves behind, with ranks drawn by name and seed."""

    def __init__(self, monkeypatch):
        self.trained, self.broken, self.counts = [], {}, {"users": USERS, "items": 50, "interactions": 99}
        self.more = {}  # what a report holds besides
        monkeypatch.setattr(comparing, "train_apart", self.train)

    def train(self, run, label, console, until=None):
        self.trained.append(run.folder.name)
        if run.folder.name in self.broken:
            return self.broken[run.folder.name]
        random = np.random.default_rng([len(run.name), run.config.training.seed])
        masked = random.integers(1, 20, USERS).astype(np.int32)
        ranks = {"masked": masked, "kept": masked + 1}
        test = {protocol: self.metrics(values) for protocol, values in ranks.items()}
        run.folder.mkdir(exist_ok=True)
        pl.DataFrame({"user": range(USERS)} | ranks).write_parquet(run.folder / "ranks.parquet")
        report = made_by() | {
            "dataset": "made/up.csv",
            "model": run.name,
            "seed": run.config.training.seed,
            "seconds": 7.0,
            "protocol": "",
            "parameters": 1234,
            "config": run.config.flat(),
            "counts": self.counts,
            "valid": {"masked": {"ndcg@10": len(run.name) / 100}},
            "test": test,
        }
        report |= self.more
        (run.folder / "metrics.json").write_text(json.dumps(report))
        return None

    @staticmethod
    def metrics(ranks):
        gains = {k: np.where(ranks <= k, 1 / np.log2(ranks + 1), 0) for k in (5, 10)}
        values = {f"ndcg@{k}": float(gain.mean()) for k, gain in gains.items()}
        return values | {f"hr@{k}": float((ranks <= k).mean()) for k in (5, 10)}
