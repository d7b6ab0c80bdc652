"""What BERT4Rec hides, what it sees, and its loss by hand."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.models import BERT4Rec
from metasgcl_tf.models.bert4rec import visible_on_both_sides
from metasgcl_tf.optimizers import RowWiseAdam

NUM_ITEMS, LENGTH, DIM = 7, 5, 4
X = np.array([[0, 0, 1, 2, 3], [0, 3, 4, 5, 1], [2, 4, 6, 7, 2], [0, 0, 0, 0, 4]], np.int32)
HIDDEN = np.array([[0, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 1], [0, 0, 0, 0, 1]], bool)


def build(**options):
    """Weights as after some training: at the start all states are nearly the same."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
    model = BERT4Rec(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.5, size=v.shape))
    return model


def states_of(model, item_ids, hidden):
    window = {"item_ids": np.asarray(item_ids, np.int32), "hidden": np.asarray(hidden, bool)}
    return model(window)["states"].numpy()


every_kind = pytest.mark.parametrize("options", [{}, {"norm_first": True}], ids=["post-norm", "pre-norm"])


# ---- what it sees -------------------------------------------------------------------------------


@every_kind
def test_every_state_depends_on_every_item_before_and_after_it(options):
    model, shown = build(**options), np.zeros((1, LENGTH), bool)
    before = states_of(model, [[1, 2, 3, 4, 5]], shown)[0]
    for changed in range(LENGTH):
        items = [1, 2, 3, 4, 5]
        items[changed] = 6
        distance = np.abs(states_of(model, [items], shown)[0] - before).max(axis=-1)
        assert (distance > 1e-3).all()


@every_kind
def test_no_state_depends_on_a_hidden_item(options):
    model = build(**options)
    before = states_of(model, X, HIDDEN)
    for item in range(1, NUM_ITEMS + 1):
        np.testing.assert_array_equal(states_of(model, np.where(HIDDEN, item, X), HIDDEN), before)


@every_kind
def test_no_state_depends_on_padding(options):
    model = build(**options)
    short = states_of(model, X[:1, 2:], HIDDEN[:1, 2:])
    np.testing.assert_allclose(states_of(model, X[:1], HIDDEN[:1])[:, 2:], short, atol=1e-5)


def test_the_order_of_items_on_either_side_matters():
    model, hidden = build(), np.arange(LENGTH) == 2
    one, earlier, later = states_of(model, [[1, 2, 7, 3, 4], [2, 1, 7, 3, 4], [1, 2, 7, 4, 3]], [hidden] * 3)
    assert np.abs(one[2] - earlier[2]).max() > 1e-3 and np.abs(one[2] - later[2]).max() > 1e-3


def test_visibility_by_hand():
    visible = visible_on_both_sides(np.array([[False, True, True]])).numpy()
    assert visible.tolist() == [[[[False, True, True]] * 3]]


# ---- what it answers ----------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, LENGTH - 1, LENGTH, LENGTH + 2])
def test_the_mask_behind_the_newest_items_scores_the_next_one(length):
    model = build()
    history = np.random.default_rng(1).integers(1, NUM_ITEMS + 1, (3, length)).astype(np.int32)
    newest = history[:, -(LENGTH - 1) :]
    # Any item where the mask stands: it is hidden.
    window = np.concatenate([newest, np.full((3, 1), 5)], axis=1)
    last = np.tile(np.arange(window.shape[1]) == window.shape[1] - 1, (3, 1))
    states = states_of(model, window, last)[:, -1]
    expected = states @ model.embedding.table.numpy().T
    found = model.score_items({"item_ids": history}).numpy()
    np.testing.assert_allclose(found[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-5)


def test_a_model_of_length_one_sees_the_mask_alone():
    keras.utils.set_random_seed(0)
    scores = BERT4Rec(NUM_ITEMS, 1, hidden_dim=2, num_heads=1).score_items({"item_ids": X[:2]}).numpy()
    np.testing.assert_array_equal(scores[0], scores[1])


def test_states_of_the_newest_positions_are_the_end_of_all_states():
    model = build()
    whole, short = (model({"item_ids": X}, newest=newest)["states"] for newest in (None, 2))
    assert short.shape == (len(X), 2, DIM)
    np.testing.assert_allclose(short, whole[:, -2:], atol=1e-5)


# ---- what it hides ------------------------------------------------------------------------------


def drawn(targets, times=200, **options):
    """`[times, B, L]`, what is hidden of the same targets again and again, in as many rows of one batch."""
    again = np.tile(np.asarray(targets, np.int32), (times, 1))
    return build(**options).draw_hidden(again).numpy().reshape(times, *np.shape(targets))


@pytest.mark.parametrize(
    ("mask_prob", "counts"), [(0.2, [1, 1, 2, 4]), (0.6, [1, 3, 6, 12]), (1.0, [1, 5, 10, 20])]
)
def test_a_share_of_the_targets_is_hidden_at_least_one_and_no_padding(mask_prob, counts):
    lengths = np.array([1, 5, 10, 20])
    targets = np.arange(20) >= 20 - lengths[:, None]
    hidden = drawn(targets, mask_prob=mask_prob, last_only_prob=0.0)
    assert not hidden[:, ~targets].any()
    assert (hidden.sum(axis=-1) == counts).all()
    # Every target as often as the others.
    expected = (np.array(counts) / lengths)[:, None] * targets
    np.testing.assert_allclose(hidden.mean(axis=0), expected, atol=0.15)


def test_in_some_samples_the_newest_item_alone_is_hidden():
    hidden = drawn(np.ones((50, 10)), times=40, mask_prob=0.5, last_only_prob=0.25).reshape(-1, 10)
    alone = hidden.sum(axis=1) == 1
    assert hidden[alone, -1].all() and (hidden[~alone].sum(axis=1) == 5).all()
    assert alone.mean() == pytest.approx(0.25, abs=0.03)
    assert drawn(np.ones((2, 4)), times=5, last_only_prob=1.0).sum(axis=(0, 1)).tolist() == [0, 0, 0, 10]


def test_where_nothing_is_a_target_nothing_is_hidden():
    targets = np.array([[0, 0, 0, 4], [0, 0, 0, 0]])
    for last_only_prob in (0.0, 1.0):
        hidden = drawn(targets, times=3, mask_prob=0.5, last_only_prob=last_only_prob)
        np.testing.assert_array_equal(hidden, np.broadcast_to(targets > 0, hidden.shape))


def test_every_step_hides_anew_and_a_seed_decides_what():
    def first_three():
        model = build()
        return [model.draw_hidden(np.ones((4, 20), np.int32)).numpy() for _ in range(3)]

    one = first_three()
    np.testing.assert_array_equal(one, first_three())
    assert not any(np.array_equal(a, b) for a, b in itertools.combinations(one, 2))


# ---- the loss -----------------------------------------------------------------------------------


def loss_by_hand(model, weights):
    """The negative log-probability of each hidden item, one by one."""
    table = model.embedding.table.numpy()[1:].astype(np.float64)
    states, total = states_of(model, X, HIDDEN), 0.0
    for row, place in np.argwhere(HIDDEN):
        logits = table @ states[row, place]
        total -= weights[row, place] * (logits[X[row, place] - 1] - np.log(np.exp(logits).sum()))
    return total


@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_is_the_weighted_sum_over_hidden_items_or_their_mean(weighted):
    model = build(mask_prob=0.4)
    given = np.full(X.shape, 0.3, np.float32) if weighted else None
    outputs = model({"item_ids": X, "hidden": HIDDEN}, training=True)
    loss = float(model.compute_loss({"item_ids": X}, X, outputs, given))
    # Each hidden item stands for 1 / mask_prob of the recipe's targets.
    weights = np.full(X.shape, 0.3 / 0.4 if weighted else 1 / HIDDEN.sum())
    assert loss == pytest.approx(loss_by_hand(model, weights), rel=1e-5)
    assert float(model.loss_metrics["loss"].result()) == pytest.approx(loss)


def test_fit_logs_that_loss(monkeypatch):
    model = build()
    expected = loss_by_hand(model, np.full(X.shape, 1 / HIDDEN.sum()))
    monkeypatch.setattr(model, "draw_hidden", lambda targets: tf.constant(HIDDEN))
    model.compile("sgd")
    history = model.fit({"item_ids": X}, X, batch_size=len(X), shuffle=False, verbose=0).history
    assert history == {"loss": [pytest.approx(expected, rel=1e-5)]}


def test_it_is_not_taught_the_items_after_those_hidden():
    with pytest.raises(tf.errors.InvalidArgumentError, match="targets should be the items of the window"):
        build().training_outputs({"item_ids": X}, np.where(X > 0, X % NUM_ITEMS + 1, 0))


def test_training_moves_every_weight_the_mask_among_them():
    model = build()
    model.compile(keras.optimizers.SGD(0.1))
    before = [v.numpy() for v in model.trainable_variables]
    model.train_on_batch({"item_ids": X}, X)
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.any(new.numpy() != old), new.path
    assert np.any(model.embedding.table.numpy()[0] != before[0][0])


# ---- what it learns -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("item_loss", ["sampled_softmax", "gbce"])
def test_it_learns_from_few_negatives(item_loss):
    keras.utils.set_random_seed(1)
    model = BERT4Rec(NUM_ITEMS, LENGTH, hidden_dim=16, dropout=0.0, item_loss=item_loss, num_negatives=3)
    model.compile(RowWiseAdam(0.01))
    found = [float(model.train_on_batch({"item_ids": X}, X, return_dict=True)["loss"]) for _ in range(150)]
    model.loss_metrics["loss"].reset_state()
    last = float(model.train_on_batch({"item_ids": X}, X, return_dict=True)["loss"])
    assert last < 0.5 * found[0]


def test_it_learns_an_item_that_the_one_after_it_decides():
    # a, m, b with any a and b, and m = b + 3: nothing before m tells it.
    windows = np.array([(a, b + 3, b) for a, b in itertools.product((1, 2, 3), repeat=2)], np.int32)
    keras.utils.set_random_seed(1)
    model = BERT4Rec(NUM_ITEMS, 3, hidden_dim=16, num_layers=1, dropout=0.0, last_only_prob=0.0)
    model.compile(RowWiseAdam(0.01))
    for _ in range(150):
        model.train_on_batch({"item_ids": windows}, windows)
    states = states_of(model, windows, [[False, True, False]] * 9)[:, 1]
    scores = model.embedding.score(states).numpy()
    assert scores.argmax(axis=-1).tolist() == windows[:, 1].tolist()
