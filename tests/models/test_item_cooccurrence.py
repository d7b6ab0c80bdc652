"""ItemCooccurrence against its formula, and against figures known for the real logs."""

import itertools

import keras
import numpy as np
import pytest

from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.evaluation import evaluate
from metasgcl_tf.models import ItemCooccurrence

# The last two of each are held out. With a repeated item, and one (6) that is never trained on.
HISTORIES = [[1, 2, 3, 1, 4, 2, 5], [2, 2, 1, 3, 5], [4, 3, 2, 1], [5], [3, 4], [1, 6, 6]]
TRAINING = [[1, 2, 3, 1, 4], [2, 2, 1], [4, 3], [5], [3, 4], [1]]
NUM_ITEMS = 6


def formula(
    history,
    max_distance=50,
    distance_decay=0.9,
    backward_weight=0.9,
    recent_items=20,
    recency_decay=0.7,
    history_power=0.25,
    target_power=0.1,
):
    """The docstring's sums, as loops."""
    table, count = np.zeros((NUM_ITEMS + 1, NUM_ITEMS + 1)), np.zeros(NUM_ITEMS + 1)
    for items in TRAINING:
        for item in items:
            count[item] += 1
        for (i, before), (j, after) in itertools.combinations(enumerate(items), 2):
            if j - i <= max_distance:
                table[before, after] += distance_decay ** (j - i - 1)
                table[after, before] += backward_weight * distance_decay ** (j - i - 1)
    scores = [-np.inf]
    for j in range(1, NUM_ITEMS + 1):
        score = 0.0
        for k, h in enumerate(history[::-1][:recent_items]):
            discount = (count[h] + 1) ** history_power * (count[j] + 1) ** target_power
            score += recency_decay**k * table[h, j] / discount
        scores.append(score)
    return scores


OPTIONS = [
    pytest.param({}, id="defaults"),
    pytest.param({"max_distance": 1}, id="neighbours only"),
    pytest.param({"max_distance": 2, "distance_decay": 0.5}, id="distance 2"),
    pytest.param({"backward_weight": 0.0}, id="forward only"),
    pytest.param({"recent_items": 2, "recency_decay": 0.3}, id="two votes"),
    pytest.param({"recency_decay": 0.0}, id="the newest alone votes"),
    pytest.param({"history_power": 0.5, "target_power": 0.25}, id="discounts"),
    pytest.param({"history_power": 0.0, "target_power": 0.0}, id="no discounts"),
]


def scores_of(model, histories):
    return keras.ops.convert_to_numpy(model.score_items({"item_ids": np.array(histories)}))


@pytest.fixture(scope="module")
def split(make_split):
    return make_split(HISTORIES)


@pytest.mark.parametrize("options", OPTIONS)
def test_scores_equal_the_formula(split, options):
    model = ItemCooccurrence(NUM_ITEMS, **options)
    model.adapt(split)
    histories = [[0, 0, 0, 0, 2], [0, 0, 4, 3, 1], [1, 2, 1, 2, 4], [0, 0, 0, 6, 5], [0, 0, 0, 0, 0]]
    expected = [formula([item for item in row if item], **options) for row in histories]
    np.testing.assert_allclose(scores_of(model, histories), expected, rtol=1e-5)


def test_many_pairs_are_summed_in_parts(split, monkeypatch):
    whole, in_parts = ItemCooccurrence(NUM_ITEMS), ItemCooccurrence(NUM_ITEMS)
    whole.adapt(split)
    monkeypatch.setattr("metasgcl_tf.data.cooccurrence._PAIRS_AT_ONCE", 3)
    in_parts.adapt(split)
    history = [[1, 2, 3]]
    np.testing.assert_allclose(scores_of(in_parts, history), scores_of(whole, history), rtol=1e-6)
    assert scores_of(whole, history)[0, 1:].any()


def test_before_adapt_every_item_scores_0():
    assert scores_of(ItemCooccurrence(3), [[1, 2]]).tolist() == [[-np.inf, 0, 0, 0]]


def test_predict_knows_what_a_later_adapt_taught(split, make_split):
    model = ItemCooccurrence(NUM_ITEMS)
    inputs = {"item_ids": np.array([[0, 1]])}
    model.adapt(split)
    first = model.predict(inputs, verbose=0)
    model.adapt(make_split([[1, 6, 2, 3]], num_items=NUM_ITEMS))
    second = model.predict(inputs, verbose=0)
    assert first[0, 6] == 0 and second[0, 6] > 0 and second[0, 2] == 0


# HR@5, HR@10, NDCG@5, NDCG@10 on the test items, seen items masked, ties against the target, every item
# that was ever bought a candidate; computed independently with sparse matrices in double precision.
FIGURES = {
    "toys": (
        {"recency_decay": 0.7, "history_power": 0.25, "target_power": 0.1},
        (0.0723, 0.0975, 0.0513, 0.0594),
    ),
    "clothing": (
        {"recency_decay": 0.9, "history_power": 0.5, "target_power": 0.0},
        (0.0308, 0.0422, 0.0215, 0.0252),
    ),
    "ml-1m": (
        {
            "max_distance": 5,
            "distance_decay": 0.7,
            "backward_weight": 0.0,
            "recent_items": 10,
            "recency_decay": 0.7,
            "history_power": 0.5,
            "target_power": 0.25,
        },
        (0.1765, 0.2584, 0.1222, 0.1486),
    ),
}


LARGER = [pytest.param(name, marks=pytest.mark.slow) for name in FIGURES if name != "toys"]


@pytest.mark.parametrize("name", ["toys", *LARGER])
def test_figures_of_the_real_logs(shared_data, name):
    options, figures = FIGURES[name]
    split = leave_one_out(load(shared_data / f"{name}.txt.gz", k_core=1))
    model = ItemCooccurrence(split.log.num_items, **options)
    model.compile()
    model.adapt(split)
    masked = evaluate(model, split, "test")["masked"]
    found = [masked[metric] for metric in ("hr@5", "hr@10", "ndcg@5", "ndcg@10")]
    np.testing.assert_allclose(found, figures, atol=1e-4)
