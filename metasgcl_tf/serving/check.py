"""Whether an export answers as the trained model did, and how fast; each artefact in a clean process."""

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from metasgcl_tf.errors import InputError
from metasgcl_tf.safe_loading import check_links
from metasgcl_tf.serving.loaded import Loaded, padded

SAMPLE = "sample.parquet"
RUNTIMES = {"core.onnx": "onnxruntime", "core.tflite": "ai_edge_litert"}
TOLERANCE = 1e-5  # of a score, relative above 1: what the order of a sum changes
CALLS = {1: 300, 64: 60}  # users -> how often they are timed

Answer = tuple[np.ndarray, np.ndarray]  # `[B, k]` ids and scores
Ask = Callable[[Any], Answer]


def serve_check(folder: str | Path) -> list[dict[str, Any]]:
    """Asks every artefact of a version for the answers that were exported beside it.

    Args:
        folder: of the version, such as `saved_models/shop/1`.

    Returns:
        For each artefact that is there: `artefact`, and `users`, `same_ids` (users whose ids are all the
        same, in order), `largest_difference` of a score, `agrees`, and `milliseconds` (users asked at once ->
        the percentiles 50, 95 and 99); or `skipped` and why.

    Raises:
        InputError: no such version, links that lead out of it, or an artefact that cannot be loaded or asked.
    """
    folder = Path(folder)
    if not (folder / SAMPLE).is_file():
        raise InputError(
            f"`path` should be the folder of a version that `metasgcl export` wrote, with {SAMPLE}. "
            f"Received: {str(folder)!r}."
        )
    check_links(folder, "path")
    return [_in_clean_process(folder, name) for name in ARTEFACTS if (folder / name).exists()]


def _in_clean_process(folder: Path, artefact: str) -> dict[str, Any]:
    runtime = RUNTIMES.get(artefact)
    if runtime is not None and importlib.util.find_spec(runtime) is None:
        return {"artefact": artefact, "skipped": f"{runtime.replace('_', '-')} is not installed"}
    command = [sys.executable, "-m", "metasgcl_tf.serving.check", str(folder), artefact]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise InputError(f"{folder / artefact} should load and answer. Received: {reason:.300}.")
    return json.loads(done.stdout.splitlines()[-1])


def check(folder: Path, artefact: str) -> dict[str, Any]:
    """What `serve_check` says of one artefact, in this process."""
    sample = pl.read_parquet(folder / SAMPLE)
    k = max(1, *map(len, sample["item_ids"]))  # 0 where everybody has seen everything
    raw = artefact == "serving"
    histories = sample["history" if raw else "dense_history"].to_list()
    expected = sample["item_ids" if raw else "dense_item_ids"].to_list()
    ask = ARTEFACTS[artefact](folder / artefact, k)
    item_ids, scores = ask(histories)
    report = compared(expected, sample["scores"].to_list(), item_ids, scores)
    milliseconds = {users: latency(ask, histories, users) for users in CALLS}
    return {"artefact": artefact, **report, "milliseconds": milliseconds}


def compared(
    expected_ids: list[list], expected_scores: list[list[float]], item_ids: np.ndarray, scores: np.ndarray
) -> dict[str, Any]:
    """`users`, `same_ids`, `largest_difference` and `agrees` of answers beside those expected.

    Where scores agree within the tolerance at every rank, ids differ at ties alone.
    """
    same, largest, agrees = 0, 0.0, True
    for ids, values, found_ids, found in zip(expected_ids, expected_scores, item_ids, scores, strict=True):
        values = np.asarray(values)
        same += bool(np.array_equal(ids, found_ids[: len(ids)]))
        difference = np.abs(values - found[: len(values)])
        largest = max(largest, float(difference.max(initial=0.0)))
        agrees &= bool((difference <= TOLERANCE * np.maximum(1.0, np.abs(values))).all())
        agrees &= not np.isfinite(found[len(values) :]).any()
    return {"users": len(expected_ids), "same_ids": same, "largest_difference": largest, "agrees": agrees}


def latency(ask: Ask, histories: list[list], users: int) -> list[float]:
    """Milliseconds of a call, the percentiles 50, 95 and 99, over the histories in turn."""
    times = []
    for call in range(CALLS[users] + 5):
        asked = [histories[(call + place) % len(histories)] for place in range(users)]
        started = time.perf_counter()
        ask(asked)
        times.append((time.perf_counter() - started) * 1e3)
    return np.percentile(times[5:], [50, 95, 99]).round(3).tolist()  # the first ones warm up


def serving_asker(folder: Path, k: int) -> Ask:
    """Asks in raw ids."""
    model = Loaded(folder)

    def ask(histories: list[list]) -> Answer:
        found = model.ask(history=padded(histories), k=k)
        item_ids = found["item_ids"]
        if item_ids.dtype == object:  # UTF-8
            item_ids = np.array([[each.decode() for each in row] for row in item_ids])
        return item_ids, found["scores"]

    return ask


def core_asker(folder: Path, k: int) -> Ask:
    """Asks TensorFlow in dense ids."""
    model = Loaded(folder)
    return _dense(lambda history: model.ask(history=history), k)


def onnx_asker(path: Path, k: int) -> Ask:
    """Asks ONNX Runtime."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = ["item_ids", "scores"]
    return _dense(lambda history: dict(zip(names, session.run(names, {"history": history}), strict=True)), k)


def litert_asker(path: Path, k: int) -> Ask:
    """Asks LiteRT."""
    from ai_edge_litert.interpreter import Interpreter

    runner = Interpreter(str(path)).get_signature_runner()
    return _dense(lambda history: runner(history=history), k)


def _dense(answer: Callable[[np.ndarray], dict[str, np.ndarray]], k: int) -> Ask:
    def ask(histories: list[list[int]]) -> Answer:
        found = answer(np.asarray(histories, np.int32))
        return found["item_ids"][:, :k], found["scores"][:, :k]

    return ask


ARTEFACTS = {
    "serving": serving_asker,
    "core": core_asker,
    "core.onnx": onnx_asker,
    "core.tflite": litert_asker,
}

if __name__ == "__main__":
    print(json.dumps(check(Path(sys.argv[1]), sys.argv[2])))
