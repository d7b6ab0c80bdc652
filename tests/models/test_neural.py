"""What the models with item embeddings share: states of the newest positions only, and the item loss."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from metasgcl_tf import metrics
from metasgcl_tf.data import pipelines
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import MODELS, BERT4Rec, Caser, DuoRec, MetaSGCL, SASRec
from metasgcl_tf.optimizers import RowWiseAdam
from tests.model_side import check_gradients_from_the_newest_states

NUM_ITEMS, LENGTH, DIM = 7, 5, 4
X = np.array([[0, 0, 1, 2, 4], [0, 3, 4, 5, 6], [2, 4, 6, 7, 1], [0, 0, 0, 0, 3]], np.int32)
both_models = pytest.mark.parametrize("model", [SASRec, MetaSGCL])
KINDS = ({}, {"norm_first": True}, {"learned_positions": True}, {"input_norm": False})


def build(model, **options):
    """Without dropout and with the same noise at every call, so that a loss can be computed twice."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
    built = model(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in built.trainable_variables:
        v.assign(v + rng.normal(scale=0.2, size=v.shape))
    noise = rng.normal(size=(LENGTH, DIM)).astype(np.float32)
    built.sample = lambda mean, log_variance: mean + ops.exp(0.5 * log_variance) * noise
    return built


@pytest.fixture(scope="module", params=[SASRec, MetaSGCL])
def built(request):
    """Of either model every kind; tests only read from it."""
    return [build(request.param, **options) for options in KINDS]


@pytest.mark.parametrize("kind", range(len(KINDS)))
@pytest.mark.parametrize("training", [False, True])
def test_states_of_the_newest_positions_are_the_end_of_all_states(built, kind, training):
    whole = built[kind]({"item_ids": X}, training=training)
    for newest in (1, 3):
        short = built[kind]({"item_ids": X}, training=training, newest=newest)
        assert set(short) == set(whole)
        for name in set(whole) & {"states", "meta_states"}:
            assert short[name].shape == (len(X), newest, DIM)
            np.testing.assert_allclose(short[name], whole[name][:, -newest:], atol=1e-5)


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_targets_at_the_newest_position_give_the_same_gradients_whatever_states_are_there(built, kind):
    check_gradients_from_the_newest_states(built[kind], X)


@pytest.mark.parametrize("model", [SASRec, pytest.param(MetaSGCL, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("recipe", "newest"), [(pipelines.every_prefix, 1), (pipelines.next_item, None)], ids=["prefix", "all"]
)
def test_fit_computes_no_more_states_than_there_are_targets(model, recipe, newest, make_split, monkeypatch):
    asked, call = [], model.call

    def watched(self, inputs, training=False, newest=None):
        asked.append(newest)
        return call(self, inputs, training=training, newest=newest)

    monkeypatch.setattr(model, "call", watched)
    options = {"training": "joint"} if model is MetaSGCL else {}
    built = model(NUM_ITEMS, LENGTH, hidden_dim=2, num_layers=1, num_heads=1, **options)
    built.compile("sgd")
    asked.clear()
    split = make_split([[1, 2, 3, 4, 5, 6, 7], [2, 3, 4, 5]])
    built.fit(recipe(split, max_length=LENGTH, batch_size=4), shuffle=False, verbose=0)
    assert set(asked) == {newest}


@pytest.mark.parametrize("rows", [1, 3, 4, 100])
def test_ranks_counted_for_a_few_users_at_a_time_are_those_of_all_scores(built, rows, monkeypatch):
    built = built[0]
    monkeypatch.setattr(pipelines, "rows_in_cache", lambda num_items: {NUM_ITEMS: rows}[num_items])
    inputs = {"item_ids": X, "seen": np.array([[1, 2, 4], [3, 4, 0], [2, 0, 7], [3, 0, 0]], np.int32)}
    targets = np.array([5, 7, 1, 2], np.int32)
    expected = metrics.target_ranks(built.score_items(inputs), targets, inputs["seen"])
    in_a_graph = tf.function(built.target_ranks, reduce_retracing=True)
    for found in (built.target_ranks(inputs, targets), in_a_graph(inputs, targets)):
        np.testing.assert_array_equal(found, expected)


@both_models
def test_sampling_follows_the_counts_of_the_training_part_also_after_reloading(model, make_split, tmp_path):
    # Training parts: [3, 1] twice and [3]; counts + 1 are 3, 1, 4, 1, 1.
    split = make_split([[3, 1, 4, 4], [3, 1, 5, 4], [3, 4, 4]], num_items=5)
    built = model(
        5, 4, hidden_dim=2, num_layers=1, num_heads=1, item_loss="sampled_softmax", num_negatives=10
    )
    built.adapt(split)
    built.save(tmp_path / "model.keras")
    for each in (built, keras.models.load_model(tmp_path / "model.keras")):
        counts = np.exp(each.item_loss.log_expected_count(np.arange(1, 6)))
        np.testing.assert_allclose(counts, [3, 1, 4, 1, 1], rtol=1e-5)


@both_models
def test_vectors_started_from_counts_tell_who_stands_near_whom(model, make_split):
    # Items 1 to 3 keep to themselves, and so do 4 to 6; item 7 is only ever held out.
    split = make_split([[1, 2, 3, 7, 7], [2, 3, 1, 7, 7], [4, 5, 6, 7, 7], [6, 4, 5, 7, 7]])

    def started(seed):
        keras.utils.set_random_seed(seed)
        built = model(NUM_ITEMS, LENGTH, hidden_dim=4, num_layers=1, num_heads=1)
        before = built.embedding.table.numpy()
        built.start_from_cooccurrence(split)
        return before, built.embedding.table.numpy()

    before, table = started(1)
    products = table @ table.T
    assert products[1:4, 1:4].min() > 10 * np.abs(products[1:4, 4:7]).max()
    assert table[1:7].std() == pytest.approx(0.05)
    np.testing.assert_array_equal(table[[0, 7]], before[[0, 7]])  # of whom nothing is told
    np.testing.assert_array_equal(started(1)[1], table)
    assert np.abs(started(2)[1] - table).max() > 0.01


def fitted_losses(model, item_loss, jit_compile=False, **options):
    sizes = {"hidden_dim": 8, "num_layers": 1, "num_heads": 1, "dropout": 0.0}
    keras.utils.set_random_seed(0)
    built = model(NUM_ITEMS, LENGTH, **sizes, item_loss=item_loss, num_negatives=4, **options)
    built.compile(RowWiseAdam(0.02), jit_compile=jit_compile)
    tens = np.tile(X, (10, 1))  # steps of an epoch: to begin one takes longer than a step
    targets = np.where(tens > 0, tens % NUM_ITEMS + 1, 0)
    more = {"batch_size": 4, "shuffle": False, "verbose": 0}
    return built.fit({"item_ids": tens}, targets, epochs=3, **more).history["loss"]


JOINT = {"training": "joint"}  # the second of two steps knows no item loss


@pytest.mark.parametrize(
    ("model", "item_loss", "options"),
    [
        pytest.param(SASRec, "softmax", {}, marks=pytest.mark.slow),
        pytest.param(SASRec, "sampled_softmax", {}, marks=pytest.mark.slow),
        pytest.param(SASRec, "gbce", {}, marks=pytest.mark.slow),
        (MetaSGCL, "softmax", {}),
        pytest.param(MetaSGCL, "sampled_softmax", JOINT, marks=pytest.mark.slow),
        pytest.param(MetaSGCL, "gbce", JOINT, marks=pytest.mark.slow),
    ],
)
def test_it_is_fitted_in_half_precision(model, item_loss, options):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        losses = fitted_losses(model, item_loss, **options)
    finally:
        keras.config.set_dtype_policy("float32")
    assert losses[-1] < 0.9 * losses[0]


# That the loss itself compiles: test_losses.py.
@pytest.mark.slow
@pytest.mark.parametrize("item_loss", ["softmax", "sampled_softmax", "gbce", "bce"])
def test_it_is_fitted_with_xla(item_loss):
    losses = fitted_losses(SASRec, item_loss, jit_compile=True)
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize("model", [BERT4Rec, Caser, DuoRec])
def test_later_items_are_targets_only_where_every_position_predicts_the_next_item(model):
    users = {"num_users": 3} if model is Caser else {}
    with pytest.raises(InputError, match=r"`target_decay` should be 0 .* Received: `target_decay` = 0.5"):
        model(NUM_ITEMS, LENGTH, target_decay=0.5, **users)


PREDICTING = sorted(set(MODELS) - {"bert4rec", "bpr_mf", "item_cooccurrence", "pop"})


@pytest.mark.parametrize("name", PREDICTING)
def test_a_seen_margin_makes_every_model_pay_for_the_items_of_the_history(name):
    users = {"num_users": 3} if name == "caser" else {}
    targets = np.full((len(X), 1), 5, np.int32)
    inputs = {"item_ids": X, "same_target_ids": X[::-1], "user_index": np.zeros(len(X), np.int32)}

    def loss_of(seen_margin):
        keras.utils.set_random_seed(3)
        built = MODELS[name](NUM_ITEMS, LENGTH, hidden_dim=4, seen_margin=seen_margin, **users)
        return float(built.compute_loss(inputs, targets, built.training_outputs(inputs, targets)))

    # All scores are nearly equal, and of 7 items that many were seen beside the target.
    seen = np.array([3, 3, 5, 1])
    more = np.mean(np.log((7 - seen + seen * np.exp(2)) / 7))
    views = 2 if name in ("meta_sgcl", "contrast_vae") else 1
    assert loss_of(2.0) - loss_of(0.0) == pytest.approx(views * more, rel=0.1)


def test_a_seen_margin_needs_a_history_before_the_target():
    with pytest.raises(InputError, match=r"`seen_margin` should be 0 .* Received: `seen_margin` = 1"):
        BERT4Rec(NUM_ITEMS, LENGTH, seen_margin=1.0)


def test_a_seen_margin_is_of_the_softmax():
    with pytest.raises(InputError, match=r"`item_loss` should be softmax with a seen_margin"):
        SASRec(NUM_ITEMS, LENGTH, seen_margin=1.0, item_loss="gbce")
