"""TensorFlow traces a function once, whatever the shapes of its batches: a trace costs as much as many steps.

Batches are of few lengths and of one or two sizes, but the pipelines leave both axes open, so that one trace
serves all of them. (JAX compiles each shape, see `length_buckets`.)
"""

import collections

import numpy as np
import pytest

from metasgcl_tf.config import build_config
from metasgcl_tf.data import pipelines
from metasgcl_tf.evaluation import evaluate
from metasgcl_tf.fitting import fit
from metasgcl_tf.models import MODELS
from metasgcl_tf.training import build_model

NUM_ITEMS = 9
SETTINGS = {"hidden_dim": 8, "max_length": 16, "batch_size": 4, "epochs": 3, "dropout": 0.1}


@pytest.fixture(scope="module")
def split(make_split):
    """Users with 4 to 18 items."""
    return make_split(
        [[(user + step) % NUM_ITEMS + 1 for step in range(4 + user % 15)] for user in range(30)]
    )


@pytest.fixture
def count_calls(monkeypatch):
    """Counts how often methods of a model's class run as Python, which in a compiled function is tracing."""
    calls = collections.Counter()

    def count(kind, *names):
        def counting(name, method):
            def call(self, *arguments, **more):
                calls[name] += 1
                return method(self, *arguments, **more)

            return call

        for name in names:
            monkeypatch.setattr(kind, name, counting(name, getattr(kind, name)))
        return calls

    return count


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("meta_sgcl", {"num_layers": 1}),
        pytest.param("sasrec", {"num_layers": 1}, marks=pytest.mark.slow),
        pytest.param("sasrec", {"num_layers": 1, "every_prefix": True}, marks=pytest.mark.slow),
        pytest.param("bert4rec", {"num_layers": 1}, marks=pytest.mark.slow),
        pytest.param("duorec", {"num_layers": 1}, marks=pytest.mark.slow),
        pytest.param("gru4rec", {"item_loss": "bpr_max", "num_negatives": 4}, marks=pytest.mark.slow),
    ],
)
def test_training_and_ranking_are_traced_once(split, count_calls, model, more):
    config = build_config(SETTINGS | more | {"model": model})
    recipe = pipelines.every_prefix if config.training.every_prefix else MODELS[model].training_recipe
    batches = recipe(split, max_length=16, batch_size=4, seed=config.training.seed)
    assert len({tuple(inputs["item_ids"].shape) for inputs, *_ in batches}) > 4
    ranked = pipelines.ranking(split, "valid", max_length=16, batch_size=4)
    assert len({tuple(inputs["item_ids"].shape) for inputs, _ in ranked}) > 4

    built = build_model(config, split)
    calls = count_calls(MODELS[model], "compute_loss", "target_ranks")
    fit(built, split, config, [], epochs=1)
    assert calls == {"compute_loss": 1, "target_ranks": 1}
    fit(built, split, config, [], first_epoch=1)
    built.evaluate(ranked, verbose=0)
    assert calls == {"compute_loss": 1, "target_ranks": 1}


def test_evaluation_and_recommendations_are_traced_for_few_shapes(split, count_calls):
    built = build_model(build_config(SETTINGS | {"model": "sasrec", "num_layers": 1}), split)
    calls = count_calls(MODELS["sasrec"], "target_ranks", "best_items")
    for part in ("valid", "test", "valid"):
        evaluate(built, split, part)
    for rows in range(1, 7):
        for length in (1, 5, 16):
            built.recommend(np.full((rows, length), 3), k=2)
    # These arrays come with their shapes: TensorFlow leaves an axis open once it differed, each at the price
    # of a trace.
    assert calls == {"target_ranks": 1, "best_items": 3}
