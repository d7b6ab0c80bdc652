"""A model that was tried leaves nothing in memory."""

import gc
import weakref

import pytest
import tensorflow as tf
from rich.console import Console

from metasgcl_tf.config import build_config
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.layers.transformer import gelu
from metasgcl_tf.models.sasrec import SASRec
from metasgcl_tf.training import load_log
from metasgcl_tf.tuning import searching
from metasgcl_tf.tuning.forgetting import custom_gradients, forgetting_gradients
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.trials import read_trials


def traced_gelu():
    """A function of a scalar that holds a `custom_gradient`, and whether its graph is still there."""
    function = tf.function(gelu)
    return function, weakref.ref(function.get_concrete_function(tf.TensorSpec([], tf.float32)).graph)


def slope(function):
    """Its derivative at 0, of GELU 1/2."""
    x = tf.constant(0.0)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return float(tape.gradient(y, x))


def test_what_was_traced_within_is_forgotten_and_nothing_else():
    earlier, earlier_graph = traced_gelu()
    with pytest.raises(ZeroDivisionError), forgetting_gradients():
        function, graph = traced_gelu()
        assert slope(function) == 0.5
        del function
        gc.collect()
        assert graph() is not None  # TensorFlow's registry holds it
        _ = 1 / 0
    gc.collect()
    assert graph() is None
    assert earlier_graph() is not None and slope(earlier) == 0.5


@pytest.mark.slow
def test_a_search_keeps_no_model_that_it_tried(cyclic_log, tmp_path, monkeypatch):
    graphs, compute_loss = [], SASRec.compute_loss

    def noting(self, *arguments, **more):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))  # of the training function
        return compute_loss(self, *arguments, **more)

    monkeypatch.setattr(SASRec, "compute_loss", noting)
    small = {"hidden_dim": 8, "num_layers": 1, "max_length": 8}
    config = build_config({"data": str(cyclic_log), "model": "sasrec"} | small)
    search = Search(config, {"dropout": [0.1, 0.2]}, "grid", epochs=1).checked()
    split, before = leave_one_out(load_log(config)), custom_gradients()
    options = {"max_seconds": None, "lost_after": 60}
    searching.run_trials(search, split, tmp_path, 2, Console(quiet=True), **options)
    scores = [trial.score for trial in read_trials(tmp_path, search.objective, ["dropout"])]
    assert len(scores) == 2 and all(scores)
    gc.collect()
    assert len(graphs) >= 2 and not any(graph() for graph in graphs)
    assert custom_gradients() == before
