"""The same models on JAX: the same losses, the same files."""

import importlib.util
import json
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from metasgcl_tf import backend
from metasgcl_tf.evaluation import evaluate
from metasgcl_tf.layers.item_loss import SAMPLED
from metasgcl_tf.models import MODELS
from tests import jax_side

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("jax") is None, reason="needs jax: pip install metasgcl-tf[jax]"
)


def quick_first(names):
    """Each is compiled for seconds: those that are not in QUICK are for `-m slow`."""
    return [pytest.param(name, marks=() if name in jax_side.QUICK else pytest.mark.slow) for name in names]


each_trained = pytest.mark.parametrize("name", quick_first(jax_side.TRAINED))


@pytest.fixture(scope="module")
def both(request, tmp_path_factory, cyclic_log):
    """Models saved by TensorFlow, trained by both backends; what each found. Those that a test asks for."""
    mine = [item for item in request.session.items if item.path == request.path and hasattr(item, "callspec")]
    asked = set().union(*(item.callspec.params.values() for item in mine))
    if "hybrid" in asked:
        asked.add("sasrec")
    names = [name for name in jax_side.TRAINED if name in asked]
    folder = tmp_path_factory.mktemp("backends")
    shutil.copy(cyclic_log, folder)
    ours = {"losses": {}, "scores": {}, "items": {}, "ranking": {}}
    for name in names:
        keras.utils.set_random_seed(1)
        model = MODELS[name](jax_side.NUM_ITEMS, jax_side.LENGTH, **jax_side.TRAINED[name])
        model.compile(keras.optimizers.Adam(0.01))
        model.save(folder / f"{name}-tensorflow.keras")
        ours["scores"][name] = jax_side.scores_of(model)[:, 1:]
        ours["items"][name] = model.recommend(jax_side.HISTORIES, 5)[0].numpy().tolist()
        ours["ranking"][name] = evaluate(model, jax_side.hybrid_split(), "test")
        if name == "sasrec" and "hybrid" in asked:
            hybrid = jax_side.hybrid_of(keras.models.load_model(folder / "sasrec-tensorflow.keras"))
            hybrid.save(folder / "hybrid-tensorflow.keras")
            ours["hybrid"] = jax_side.hybrid_results(hybrid)
        ours["losses"][name] = jax_side.losses_of(jax_side.without_chance(model))
    command = [sys.executable, "-m", "tests.jax_side", str(folder), *sorted(asked)]
    # Most of the time is XLA's, which optimizes for longer runs than these.
    hurried = {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    environment = os.environ | hurried | {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"}
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(command, env=environment, cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, ours, json.loads((folder / "jax.json").read_text(encoding="utf-8"))


def test_it_ran_on_jax(both):
    assert both[2]["backend"] == "jax"


@each_trained
def test_twenty_steps_from_the_same_weights_lose_the_same(both, name):
    _, ours, theirs = both
    assert len(ours["losses"][name]) == len(theirs["losses"][name]) == 20
    for one, other in zip(ours["losses"][name], theirs["losses"][name], strict=True):
        assert set(one) == set(other) == set(MODELS[name].loss_names)
        assert float(one["loss"]) == pytest.approx(other["loss"], rel=1e-5)
    assert ours["losses"][name][-1]["loss"] < 0.98 * ours["losses"][name][0]["loss"]


@each_trained
def test_a_model_saved_on_tensorflow_scores_the_same_on_jax(both, name):
    _, ours, theirs = both
    np.testing.assert_allclose(theirs["scores"][name], ours["scores"][name], rtol=1e-4, atol=1e-5)
    assert theirs["items"][name] == ours["items"][name]
    for protocol in ("masked", "kept"):
        assert theirs["ranking"][name][protocol] == pytest.approx(ours["ranking"][name][protocol], rel=1e-5)


@each_trained
def test_a_model_trained_and_saved_on_jax_scores_the_same_on_tensorflow(both, name):
    folder, _, _ = both
    model = keras.models.load_model(folder / f"{name}-jax.keras")
    np.testing.assert_allclose(
        jax_side.scores_of(model), np.load(folder / f"{name}-jax.npy"), rtol=1e-4, atol=1e-5
    )
    assert int(model.optimizer.iterations) == 20


@pytest.mark.parametrize("name", quick_first(["hybrid"]))
def test_a_hybrid_is_the_same_on_jax(both, name):
    _, ours, theirs = both
    mine, other = ours[name], theirs[name]
    np.testing.assert_allclose(other["scores"], mine["scores"], rtol=1e-4, atol=1e-6)
    assert other["items"] == mine["items"]
    assert other["masked"] == pytest.approx(mine["masked"], rel=1e-5)
    assert other["weights"] == pytest.approx(mine["weights"], rel=1e-5)
    assert len(set(mine["weights"].values())) == 3


@pytest.mark.parametrize("loss", quick_first(SAMPLED))
def test_a_sampled_loss_trains_on_jax(both, loss):
    values = [step["loss"] for step in both[2]["sampled"][loss]]
    assert np.isfinite(values).all() and values[-1] < values[0]


@pytest.mark.parametrize("policy", quick_first(["mixed_bfloat16"]))
def test_half_precision_trains_on_jax(both, policy):
    values = [step["loss"] for step in both[2][policy]]
    assert np.isfinite(values).all() and values[-1] < values[0]


@pytest.mark.parametrize("name", quick_first(["trials"]))
def test_a_seed_of_a_trial_learns_what_fit_learns(both, name):
    found = both[2][name]
    first, second = np.moveaxis(found["tried"], 1, 0)
    np.testing.assert_allclose(second, found["fitted"], rtol=1e-5)
    assert (first != second).any()


@pytest.mark.parametrize("name", quick_first(["resumed"]))
def test_a_killed_training_goes_on_to_the_same_end_on_jax(both, name):
    assert both[2][name] == 27


@pytest.mark.parametrize("name", quick_first(jax_side.UNTRAINED))
def test_full_ranking_on_jax_gives_the_numbers_of_tensorflow(both, name):
    assert both[2]["evaluations"][name] == pytest.approx(jax_side.evaluation(name), rel=1e-5)


def test_another_backend_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(keras.backend, "backend", lambda: "numpy")
    refusal = r"^KERAS_BACKEND should be tensorflow or jax\. Received: 'numpy'\.$"
    with pytest.raises(ImportError, match=refusal):
        runpy.run_path(backend.__file__)
