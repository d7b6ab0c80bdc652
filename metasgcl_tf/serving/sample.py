"""Histories with the trained model's answers, exported beside it, so that every artefact can be checked."""

from pathlib import Path

import numpy as np
import polars as pl

from metasgcl_tf.recommending import left_padded
from metasgcl_tf.run_folder import Run
from metasgcl_tf.serving.check import SAMPLE

USERS, K = 100, 10


def write_sample(run: Run, folder: Path, core_k: int, num_users: int = USERS) -> list[list[int | str]]:
    """Writes `sample.parquet`: of users of the log what the model looks at, and the best items after it.

    Columns: `history` and `item_ids` (lists of raw ids), `dense_history` (padded to L) and `dense_item_ids`
    for `core/`, `scores`; seen items are left out.

    Args:
        run: a finished run.
        folder: of the version.
        core_k: how many items `core/` answers with; no more are compared.
        num_users: how many, spread over the log.

    Returns:
        The histories in raw ids.
    """
    log, model = run.log, run.model
    users = np.unique(np.linspace(0, log.num_users - 1, num_users).astype(int))
    newest = [log.history(user)[-model.max_length :] for user in users]
    histories, dense = [log.raw_items(items) for items in newest], left_padded(newest, model.max_length)
    item_ids, scores = (np.asarray(found) for found in model.recommend(dense, min(K, core_k)))
    found = np.isfinite(scores)
    columns = {
        "history": histories,
        "item_ids": [log.raw_items(row[real]) for row, real in zip(item_ids, found, strict=True)],
        "dense_history": dense.tolist(),
        "dense_item_ids": [row[real].tolist() for row, real in zip(item_ids, found, strict=True)],
        "scores": [row[real].tolist() for row, real in zip(scores, found, strict=True)],
    }
    raw = pl.List(log.items.dtype)
    types = {"history": raw, "item_ids": raw, "dense_history": pl.List(pl.Int32)}
    pl.DataFrame(columns, schema_overrides=types).write_parquet(folder / SAMPLE)
    return histories
