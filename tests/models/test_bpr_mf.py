"""The loss of BPR-MF by hand, the tastes it learns, and what it makes of a new user."""

import keras
import numpy as np
import pytest

from metasgcl_tf.data import pipelines
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import BPRMF
from metasgcl_tf.models.bpr_mf import fold_in

NUM_ITEMS, USERS, DIM = 6, 4, 3


def build(**options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    model = BPRMF(NUM_ITEMS, 5, **({"num_users": USERS, "hidden_dim": DIM} | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(rng.normal(size=v.shape))
    return model


def scores_of(model, item_ids, users=None):
    inputs = {"item_ids": np.asarray(item_ids, np.int32)}
    if users is not None:
        inputs["user_index"] = np.asarray(users, np.int32)
    return model.score_items(inputs).numpy()


# ---- the loss -----------------------------------------------------------------------------------

Y = np.array([[5, 1], [2, 0], [6, 3]], np.int32)
WHO = np.array([3, 0, 3], np.int32)
NEGATIVES = np.array([[[2, 4], [1, 3]], [[6, 6], [1, 1]], [[5, 1], [3, 3]]], np.int32)


@pytest.mark.parametrize("l2_weight", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [True, False])
def test_the_loss_compares_each_item_with_its_negatives(l2_weight, weighted):
    model = build(num_negatives=2, l2_weight=l2_weight)
    model.draw = lambda shape: NEGATIVES
    users, items = model.users.table.numpy()[1:], model.embedding.table.numpy()
    weights = np.random.default_rng(1).uniform(0.5, 2, Y.shape).astype(np.float32) if weighted else None
    each = weights if weighted else np.full(Y.shape, 1 / 5)
    expected = 0.0
    for row, place in np.argwhere(Y):
        user, target = users[WHO[row]], items[Y[row, place]]
        others = items[NEGATIVES[row, place]]
        pairs = [
            np.log1p(np.exp(-user @ (target - other)))
            for other, item in zip(others, NEGATIVES[row, place], strict=True)
            if item != Y[row, place]  # a negative that is the target does not count
        ]
        squares = user @ user + target @ target + np.mean([other @ other for other in others])
        expected += each[row, place] * (sum(pairs) / 2 + l2_weight / 2 * squares)
    inputs = {"item_ids": np.zeros((3, 1), np.int32), "user_index": WHO}
    loss = float(model.compute_loss(inputs, Y, model(inputs, training=True), weights))
    assert loss == pytest.approx(expected, rel=1e-5)
    assert float(model.loss_metrics["loss"].result()) == pytest.approx(loss)


def test_negatives_are_any_item_alike():
    drawn = build(num_negatives=3).draw((500, 20)).numpy()
    assert drawn.shape == (500, 20, 3)
    frequencies = np.bincount(drawn.ravel(), minlength=NUM_ITEMS + 1) / drawn.size
    assert frequencies[0] == 0 and np.abs(frequencies[1:] - 1 / 6).max() < 0.01  # 4.6 times its spread


def test_training_moves_only_what_the_batch_names():
    model = build()
    model.draw = lambda shape: np.array([[[2]], [[4]]], np.int32)
    model.compile(keras.optimizers.SGD(0.1))
    tables = model.users.table, model.embedding.table
    before = [table.numpy() for table in tables]
    inputs = {"item_ids": np.zeros((2, 1), np.int32), "user_index": np.array([3, 0], np.int32)}
    model.train_on_batch(inputs, np.array([[5], [2]], np.int32))
    moved = [np.flatnonzero((t.numpy() != old).any(axis=1)) for t, old in zip(tables, before, strict=True)]
    assert moved[0].tolist() == [1, 4] and moved[1].tolist() == [2, 4, 5]


def test_training_needs_to_know_the_users():
    with pytest.raises(InputError, match=r"^`user_index` should be in every training batch\. Received: "):
        build().training_outputs({"item_ids": np.ones((2, 3), np.int32)}, np.ones((2, 1), np.int32))


def test_training_needs_as_many_vectors_as_users():
    model = BPRMF(5, hidden_dim=2)
    model.compile()
    inputs = {"item_ids": np.zeros((1, 1), np.int32), "user_index": np.zeros(1, np.int32)}
    with pytest.raises(InputError, match=r"^`num_users` should be known before training: call `adapt`"):
        model.train_on_batch(inputs, np.ones((1, 1), np.int32))


# ---- scores -------------------------------------------------------------------------------------


def test_a_user_of_the_log_is_scored_by_the_vector_learned_whatever_the_history():
    model = build()
    expected = model.users.table.numpy()[[2, 4]] @ model.embedding.table.numpy()[1:].T
    for history in ([[1, 2], [0, 3]], [[0, 0], [5, 5]]):
        np.testing.assert_allclose(scores_of(model, history, [1, 3])[:, 1:], expected, rtol=1e-4, atol=1e-5)


def test_the_vector_of_a_new_user_minimises_the_squared_pairwise_loss():
    """The objective is rebuilt pair by pair; its gradient at what `fold_in` found is 0."""
    rng = np.random.default_rng(2)
    table, prior = rng.normal(size=(NUM_ITEMS + 1, DIM)), rng.normal(size=DIM)
    histories = np.array([[0, 0, 2, 5, 2], [1, 2, 3, 4, 6], [0, 0, 0, 0, 4]], np.int32)
    found = fold_in(histories, table.astype(np.float32), prior.astype(np.float32)).numpy()
    ridge = table[1:].var(axis=0).mean()
    for history, p in zip(histories, found, strict=True):
        gradient = ridge * (p - prior)
        for item in history[history > 0]:
            for other in table[1:]:
                difference = table[item] - other
                gradient -= (1 - p @ difference) * difference / NUM_ITEMS
        np.testing.assert_allclose(gradient, 0, atol=1e-4)


def test_who_has_nothing_is_the_mean_of_all_users():
    model = build()
    expected = model.users.table.numpy()[1:].mean(axis=0) @ model.embedding.table.numpy()[1:].T
    np.testing.assert_allclose(scores_of(model, [[0, 0]])[0, 1:], expected, rtol=1e-4)


def test_items_that_are_all_alike_are_no_accident():
    found = fold_in(np.array([[1, 2]], np.int32), np.zeros((4, 2), np.float32), np.ones(2, np.float32))
    np.testing.assert_allclose(found, [[1, 1]], rtol=1e-5)


# ---- a log of tastes ----------------------------------------------------------------------------

TASTES, OF_A_TASTE = 4, 7


@pytest.fixture(scope="module")
def tastes(make_split):
    """Four tastes of seven items; a user has six of one taste, so that one more is left to like."""
    rng = np.random.default_rng(3)
    histories = [
        taste * OF_A_TASTE + 1 + rng.permutation(OF_A_TASTE)[:6] for taste in range(TASTES) for _ in range(15)
    ]
    return make_split([history.tolist() for history in histories], num_items=TASTES * OF_A_TASTE)


@pytest.fixture(scope="module")
def trained(tastes):
    keras.utils.set_random_seed(1)
    model = BPRMF(TASTES * OF_A_TASTE, hidden_dim=4, l2_weight=0.05)
    model.adapt(tastes)
    model.compile(keras.optimizers.Adam(0.05))
    batches = pipelines.every_interaction(tastes, batch_size=32)
    model.fit(batches.repeat(30), shuffle=False, verbose=0)
    return model


def taste_of(items):
    return (np.asarray(items) - 1) // OF_A_TASTE


def test_it_learns_the_tastes(trained, tastes):
    scores = scores_of(trained, [[0]] * len(tastes.evaluated), tastes.evaluated)
    best = np.argsort(-scores, axis=1)[:, :OF_A_TASTE]
    first_items = tastes.log.item_index[tastes.train_begin]
    assert (taste_of(best) == taste_of(first_items)[:, None]).all()
    ranking = pipelines.ranking(tastes, "test", max_length=50)
    report = trained.evaluate(ranking, verbose=0, return_dict=True)
    # Of the taste the target and one item that the user never had are left: rank 1 or 2.
    assert report["hr@5"] == 1 and report["mrr"] >= 0.5


def test_a_new_user_is_ranked_nearly_like_a_known_one_with_the_same_items(trained, tastes):
    histories = np.stack([tastes.log.history(user)[:4] for user in range(tastes.log.num_users)])
    known = scores_of(trained, histories, range(len(histories)))[:, 1:]
    new = scores_of(trained, histories)[:, 1:]
    best = np.argsort(-new, axis=1)[:, :OF_A_TASTE] + 1
    assert (taste_of(best) == taste_of(histories[:, :1])).all()
    # By chance 0; with the taste alone, in any order within and without, .56.
    ranks = [np.argsort(np.argsort(scores, axis=1), axis=1) for scores in (known, new)]
    alike = [np.corrcoef(one, other)[0, 1] for one, other in zip(*ranks, strict=True)]
    assert np.mean(alike) > 0.8


def test_a_reloaded_model_knows_its_users(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    histories = np.array([[1, 2, 3], [0, 9, 8]])
    for users in ([0, 59], None):
        np.testing.assert_array_equal(
            scores_of(reloaded, histories, users), scores_of(trained, histories, users)
        )
