"""Fixtures for the whole test suite."""

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real interaction logs, METASGCL_DATA; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("METASGCL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "toys.txt.gz").is_file():
        pytest.skip(f"no real logs in {folder}; set METASGCL_DATA to a folder that holds toys.txt.gz")
    return folder
