"""SavedModels of a run, as the next version in a folder; saved_models/README.md says what is in it."""

import shutil
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import polars as pl
import tensorflow as tf

from metasgcl_tf import backend
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.files import writable
from metasgcl_tf.models.neural import NeuralRecommender
from metasgcl_tf.reports.model_card import model_card
from metasgcl_tf.run_folder import CONFIG, Run, load_run, read_metrics
from metasgcl_tf.serving import conversion
from metasgcl_tf.serving.core import Core
from metasgcl_tf.serving.endpoints import Serving
from metasgcl_tf.serving.sample import write_sample

LINKED = ("saved_model.pb", "fingerprint.pb", "variables", "assets")  # what TF Serving looks for
ITEMS = "items.txt"


def export(run_folder: str | Path, to: str | Path, *, core_k: int = 100, formats: Sequence[str] = ()) -> Path:
    """Exports the model of a run as the next version in a folder.

    A server that watches the folder sees a version whole or not at all; older versions stay as they are.

    Args:
        run_folder: what `metasgcl train` wrote.
        to: the folder of the versions; the next number above those there is taken, from 1.
        core_k: how many items `core/` answers with (at most V); `serving/` takes k with each request.
        formats: of `core/` besides the SavedModel: `"onnx"`, `"litert"`.

    Returns:
        The folder of the new version. The extra `serving` is needed for requests to warm a server up; without
        it a warning says so.

    Raises:
        InputError: no such run or one that is not finished, another backend than TensorFlow, an id that no
            line of a text file can hold, a format that cannot hold the model, or a folder that cannot be
            written.
    """
    require(backend.NAME == "tensorflow", "KERAS_BACKEND", "tensorflow, to export", backend.NAME)
    require(core_k >= 1, "core_k", "at least 1", core_k)
    conversion.check_formats(formats)
    report, begun = read_metrics(run_folder), (Path(run_folder) / CONFIG).is_file()
    over = "one whose training is over: `metasgcl train --resume` goes on with it"
    require(bool(report) or not begun, "run", over, str(run_folder))
    run, to = load_run(run_folder), Path(to)
    core_k = min(core_k, run.log.num_items)
    with writable(to, "to"):
        to.mkdir(parents=True, exist_ok=True)
        writing = Path(tempfile.mkdtemp(prefix=".writing-", dir=to))
    try:
        write_artefacts(run, writing, core_k, formats)
        histories = write_sample(run, writing, core_k)
        write_warmup(run, writing, to.resolve().name, histories)
        (writing / "model_card.md").write_text(model_card(run, report), encoding="utf-8")
        for name in LINKED:
            (writing / name).symlink_to(Path("serving") / name)
        writing.chmod(0o755)
        return published(writing, to)
    finally:
        shutil.rmtree(writing, ignore_errors=True)  # nothing where it was renamed


def write_artefacts(run: Run, folder: Path, core_k: int, formats: Sequence[str] = ()) -> None:
    """Writes `serving/`, `core/` and its other formats, and the item vectors."""
    model = run.model
    with tempfile.TemporaryDirectory() as elsewhere:  # TensorFlow copies it to the assets
        vocabulary = Path(elsewhere) / ITEMS
        write_vocabulary(run.log.items, vocabulary)
        popularity = leave_one_out(run.log).item_counts().astype(np.float32)
        is_text = run.log.items.dtype == pl.String
        serving = Serving(model, str(vocabulary), popularity, tf.string if is_text else tf.int64)
        tf.saved_model.save(serving, folder / "serving", signatures=serving.signatures())
    core = Core(model, core_k)
    tf.saved_model.save(core, folder / "core", signatures=core.signatures())
    conversion.convert(core, formats, folder)
    if isinstance(model, NeuralRecommender):
        np.save(folder / "items.npy", keras.ops.convert_to_numpy(model.item_vectors())[1:])


def write_vocabulary(items: pl.Series, path: Path) -> None:
    """Writes one raw id a line, in the order of the dense ids from 1.

    Raises:
        InputError: an id is empty or holds a line break.
    """
    lines = [str(item) for item in items]
    for line in lines:
        if not line or "\n" in line or "\r" in line:
            raise InputError(f"Item ids should be text of one line, to be exported. Received: {line!r}.")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")


def write_warmup(run: Run, folder: Path, name: str, histories: list[list[int | str]]) -> None:
    """Writes requests that a server answers to itself before it takes others, where the extra is there."""
    try:
        from metasgcl_tf.serving.warmup import write_requests
    except ImportError:
        warnings.warn(
            'No warm-up requests were written: they need pip install "metasgcl-tf[serving]".', stacklevel=3
        )
        return
    write_requests(folder / "assets.extra", name, histories, isinstance(run.model, NeuralRecommender))


def published(writing: Path, to: Path) -> Path:
    """Renames a finished folder to the next version."""
    while True:
        versions = [int(path.name) for path in to.iterdir() if path.name.isdecimal()]
        version = to / str(max(versions, default=0) + 1)
        try:
            return writing.rename(version)
        except OSError:  # another export took the number meanwhile
            if not version.exists():
                raise
