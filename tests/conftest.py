"""Fixtures for the whole test suite."""

import os
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import leave_one_out

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real interaction logs, METASGCL_DATA; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("METASGCL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "toys.txt.gz").is_file():
        pytest.skip(f"no real logs in {folder}; set METASGCL_DATA to a folder that holds toys.txt.gz")
    return folder


@pytest.fixture(scope="session")
def make_split():
    """Builds the split of histories written by hand: one list of item ids 1..V a user, oldest first."""

    def make(histories, num_items=None):
        item_index = np.concatenate(histories).astype(np.int32)
        return leave_one_out(
            InteractionLog(
                item_index=item_index,
                offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
                users=pl.Series("user", range(len(histories))),
                items=pl.Series("item", range(1, (num_items or int(item_index.max())) + 1)),
                counts={},
            )
        )

    return make
