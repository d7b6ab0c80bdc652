"""The C program of the documentation: the same answers with no Python in the process."""

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.serving import Loaded

SOURCE = Path(__file__).resolve().parents[2] / "docs" / "serving" / "recommend.c"


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Built as its documentation says."""
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    wheel, built = Path(tf.__file__).parent, tmp_path_factory.mktemp("c") / "recommend"
    libraries = ["-l:libtensorflow_cc.so.2", "-l:libtensorflow_framework.so.2"]
    paths = [f"-I{wheel}/include", f"-L{wheel}", f"-Wl,-rpath,{wheel}"]
    subprocess.run(["gcc", str(SOURCE), "-o", str(built), *paths, *libraries], check=True)
    return built


@pytest.mark.parametrize(
    ("fixture", "history"),
    [("exported", ["i3", "nowhere", "i4"]), ("counted_version", [str(2**53 + 4), str(2**53 + 5)])],
)
def test_it_prints_what_python_is_answered(request, program, fixture, history):
    folder = request.getfixturevalue(fixture) / "serving"
    model = Loaded(folder)
    text = fixture == "exported"
    expected = model.ask(history=[history] if text else [[int(item) for item in history]], k=5)
    output = model.signatures["serving_default"].outputs["item_ids"].name.partition(":")[0]
    command = [str(program), str(folder), output, "5", *history]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    )
    assert done.returncode == 0, done.stderr[-1000:]
    items, scores = zip(*(line.split("\t") for line in done.stdout.splitlines()), strict=True)
    ids = expected["item_ids"][0]
    assert list(items) == [each.decode() if text else str(each) for each in ids]
    np.testing.assert_allclose(np.array(scores, float), expected["scores"][0], atol=1e-5)
