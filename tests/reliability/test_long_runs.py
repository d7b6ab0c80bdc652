"""The memory of a training does not grow with its epochs."""

import json
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

EPOCHS, SETTLED = 200, 20
# Python lets some 8 MB of cycles gather before it looks for them. Each time a model is saved, Keras makes an
# optimizer for each that it finds there (its list of attributes to skip is stored under one name and looked
# for under another), and TensorFlow keeps 0.07 MB of each until `clear_session`: whatever the size of the
# model, 0.2 MB for the three of Meta-SGCL, and 30 epochs or so are saved. More than this would be ours.
MOST_MORE = 20


@pytest.fixture
def log(tmp_path):
    """64 users around a cycle of 12 items, 5 to 18 steps each: batches of many lengths."""
    rows = [f"u{user},i{(user + step) % 12},{step}" for user in range(64) for step in range(5 + user % 14)]
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
    return path


@pytest.mark.reliability
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("model", ["meta_sgcl", "sasrec"])
def test_memory_is_flat_over_many_epochs(log, tmp_path, model, record_property):
    side = [
        sys.executable,
        "-m",
        "tests.reliability.long_run_side",
        log,
        model,
        str(EPOCHS),
        tmp_path / "run",
    ]
    child = subprocess.run(side, cwd=REPOSITORY, capture_output=True, text=True, timeout=1800)
    assert child.returncode == 0, child.stderr[-2000:]
    found = json.loads(child.stdout.splitlines()[-1])
    memory = found["after_epoch"]
    most = max(memory[:SETTLED]), max(memory[SETTLED:])
    said = f"{memory[0]:.0f} after the first, at most {most[0]:.0f} in {SETTLED} and {most[1]:.0f} after"
    record_property(f"{model}, MB of memory over {EPOCHS} epochs", said)
    assert len(memory) == EPOCHS and found["saved"] > 10
    assert most[1] - most[0] <= MOST_MORE
