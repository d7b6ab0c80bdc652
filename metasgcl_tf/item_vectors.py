"""The item vectors of a trained model as Figure 6 shows them: projection, spectrum, alignment, uniformity."""

import json
from typing import Any

import keras
import numpy as np

from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.files import write_whole
from metasgcl_tf.results import read_json, without_places
from metasgcl_tf.run_folder import load_run
from metasgcl_tf.run_plan import PlannedRun

SHOWN_ITEMS, PAIRS, SEED = 2_000, 200_000, 0


def look_at(run: PlannedRun) -> dict[str, Any]:
    """What the item vectors of a run look like, kept beside its result as `RUN.embeddings.json`.

    Returns:
        The numbers of `geometry` with those that name the run; empty where neither they nor the model of the
        planned run are there.

    Raises:
        InputError: the file cannot be read.
    """
    path, wanted = run.folder.with_name(f"{run.folder.name}.embeddings.json"), without_places(run.settings)
    found = read_json(path)
    if found.get("config") == wanted and found.get("seed") == run.config.training.seed:
        return found
    if not run.has_model():
        return {}
    loaded = load_run(run.folder, compile=False)
    vectors = keras.ops.convert_to_numpy(loaded.model.item_vectors())[1:]
    made = {"model": run.name} | {key: run.report()[key] for key in ("seed", "commit", "versions", "machine")}
    found = made | {"config": wanted} | geometry(vectors, leave_one_out(loaded.log))
    write_whole(path, json.dumps(found) + "\n")
    return found


def geometry(vectors: np.ndarray, split: Split) -> dict[str, Any]:
    """How item vectors lie.

    Args:
        vectors: `[V, D]`, of the items 1..V.
        split: the log and its training parts.

    Returns:
        `items`, which at most 2,000 of the catalogue are drawn, by dense id; `popularity`, their training
        interactions; `points`, their two coordinates along the first singular directions; `spectrum`, the
        singular values of all vectors over the largest one; `alignment` and `uniformity`.
    """
    from sklearn.decomposition import TruncatedSVD  # of the extra `report`

    vectors = np.asarray(vectors, np.float64)
    random = np.random.default_rng(SEED)
    items = np.sort(random.permutation(len(vectors))[:SHOWN_ITEMS])
    plane = TruncatedSVD(2, random_state=SEED, n_iter=20).fit(vectors)
    spectrum = np.linalg.svd(vectors, compute_uv=False)
    return {
        "items": (items + 1).tolist(),
        "popularity": split.item_counts()[1:][items].tolist(),
        "points": np.round(plane.transform(vectors[items]), 4).tolist(),
        "spectrum": np.round(spectrum / spectrum[0], 5).tolist(),
        "alignment": alignment(vectors, *split.training_pairs(1)),
        "uniformity": uniformity(vectors),
    }


def alignment(vectors: np.ndarray, earlier: np.ndarray, later: np.ndarray) -> float:
    """Mean squared distance of items that follow each other, on the unit sphere: 0 (all alike) to 4.

    As in Wang and Isola 2020, with neighbours in a history for the positive pairs.

    Args:
        vectors: `[V, D]`, of the items 1..V.
        earlier: `[P]` items; of more than 200,000 pairs, so many are drawn.
        later: `[P]`, the item after each.
    """
    if len(earlier) > PAIRS:
        drawn = np.random.default_rng(SEED).integers(0, len(earlier), PAIRS)
        earlier, later = earlier[drawn], later[drawn]
    return float(_squared_distances(vectors, earlier - 1, later - 1).mean())


def uniformity(vectors: np.ndarray) -> float:
    """Log of the mean of exp(-2 d^2) over pairs of different items: 0 if all are alike, lower is more even.

    As in Wang and Isola 2020, on the unit sphere.

    Args:
        vectors: `[V, D]`, at least two; where there are more than 200,000 pairs, so many are drawn.
    """
    count = len(vectors)
    if count * (count - 1) // 2 <= PAIRS:
        one, other = np.triu_indices(count, 1)
    else:
        random = np.random.default_rng(SEED)
        one = random.integers(0, count, PAIRS)
        other = (one + random.integers(1, count, PAIRS)) % count
    return float(np.log(np.exp(-2 * _squared_distances(vectors, one, other)).mean()))


def _squared_distances(vectors: np.ndarray, one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """`[P]`, between the directions of rows `one` and `other`."""
    unit = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    return 2 - 2 * np.einsum("pd,pd->p", unit[one], unit[other])
