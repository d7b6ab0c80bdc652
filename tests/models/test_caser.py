"""The filters of Caser by hand, and what its user vector knows."""

import keras
import numpy as np
import pytest

from metasgcl_tf import cli
from metasgcl_tf.data import pipelines
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import Caser
from metasgcl_tf.optimizers import RowWiseAdam
from metasgcl_tf.run_folder import load_run

NUM_ITEMS, LENGTH, DIM, ORDER, USERS = 9, 6, 3, 3, 4
X = np.array([[0, 0, 0, 0, 0, 2], [0, 0, 3, 4, 5, 1], [2, 4, 6, 7, 8, 9]], np.int32)
OPTIONS = {"hidden_dim": DIM, "dropout": 0.0, "markov_order": ORDER, "num_horizontal": 2, "num_vertical": 2}


def build(**options):
    """Weights as after some training."""
    keras.utils.set_random_seed(0)
    model = Caser(NUM_ITEMS, LENGTH, **({"num_users": USERS} | OPTIONS | options))
    rng = np.random.default_rng(0)
    for v in model.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return model


def inputs_of(item_ids, users=None):
    inputs = {"item_ids": np.asarray(item_ids, np.int32)}
    return inputs if users is None else inputs | {"user_index": np.asarray(users, np.int32)}


def states_of(model, *inputs, **options):
    return model(inputs_of(*inputs), **options)["states"].numpy()


def scores_of(model, *inputs):
    return model.score_items(inputs_of(*inputs)).numpy()


def relu(x):
    return np.maximum(x, 0)


def sequence_vector(model, window):
    """z of ORDER item ids (Tang and Wang 2018, eq. 3 to 9), filter by filter."""
    image = model.embedding(np.asarray(window, np.int32)[None]).numpy()[0] * (np.asarray(window) > 0)[:, None]
    found = []
    for height, filters in enumerate(model.convolutions.horizontal, start=1):
        kernel, bias = filters.get_weights()  # [height, D, 2]
        places = [image[start : start + height] for start in range(ORDER - height + 1)]
        found += [max(relu((p * kernel[..., f]).sum() + bias[f]) for p in places) for f in range(2)]
    vertical = model.convolutions.vertical.numpy()
    found += [image[:, d] @ vertical[:, f] for d in range(DIM) for f in range(2)]
    kernel, bias = model.sequence.get_weights()
    return relu(np.array(found) @ kernel + bias)


def test_scores_are_those_of_the_filters_beside_the_user():
    model, users = build(), [3, 0, 1]
    table, rows = model.items.table.numpy(), model.users.table.numpy()
    for items, user, scores in zip(X, users, scores_of(model, X, users), strict=True):
        beside = np.concatenate([sequence_vector(model, items[-ORDER:]), rows[1 + user]])
        expected = table[1:, :-1] @ beside + table[1:, -1]  # W' and b'
        np.testing.assert_allclose(scores[1:], expected, rtol=1e-4, atol=1e-5)


def test_every_position_has_the_state_of_its_own_window():
    model = build()
    states = states_of(model, X, [0, 1, 2])
    for row, items in enumerate(X):
        for place in range(LENGTH):
            window = np.pad(items, (ORDER, 0))[place + 1 : place + 1 + ORDER]
            expected = sequence_vector(model, window)
            np.testing.assert_allclose(states[row, place, :DIM], expected, rtol=1e-4, atol=1e-5)
    for newest in (1, 4):
        short = states_of(model, X, [0, 1, 2], newest=newest)
        np.testing.assert_allclose(short, states[:, -newest:], atol=1e-6)


def test_items_start_without_a_bias():
    table = Caser(NUM_ITEMS, LENGTH, **OPTIONS).items.table.numpy()
    assert not table[:, -1].any() and table[:, :-1].all() and table.shape == (NUM_ITEMS + 1, 2 * DIM + 1)


def test_only_the_newest_items_are_looked_at_in_their_order():
    model = build()
    one = scores_of(model, [[1, 2, 3, 4, 5, 6]])[0, 1:]
    np.testing.assert_allclose(scores_of(model, [[7, 8, 9, 4, 5, 6]])[0, 1:], one, rtol=1e-5)
    for other in ([1, 2, 3, 7, 5, 6], [1, 2, 3, 5, 4, 6], [1, 2, 3, 4, 6, 5]):
        assert np.abs(scores_of(model, [other])[0, 1:] - one).max() > 1e-3


def test_a_new_user_is_the_mean_of_all_users():
    model = build()
    states = states_of(model, X)
    expected = model.users.table.numpy()[1:].mean(axis=0)
    np.testing.assert_allclose(states[..., DIM : 2 * DIM], np.broadcast_to(expected, (3, LENGTH, DIM)), 1e-5)
    np.testing.assert_allclose(scores_of(model, X), scores_of(model, X, [-1, USERS, 99]), rtol=1e-5)


def test_training_moves_every_weight_but_the_vectors_of_others():
    model = build()
    model.compile(keras.optimizers.SGD(0.1))
    before = [v.numpy() for v in model.trainable_variables]
    users = model.users.table.numpy()
    model.train_on_batch(inputs_of(X, [3, 0, 3]), np.array([[1], [2], [3]], np.int32))
    for old, new in zip(before, model.trainable_variables, strict=True):
        assert np.any(new.numpy() != old), new.path
    moved = (model.users.table.numpy() != users).any(axis=1)
    assert moved.tolist() == [False, True, False, False, True]


@pytest.fixture(scope="module")
def only_the_user_tells(make_split):
    """After 1, 2, 3 half of the users have 4, the others 5, again and again; 8 users."""
    return make_split([[1, 2, 3, 4 + user % 2] * 4 for user in range(8)], num_items=5)


@pytest.fixture(scope="module")
def trained(only_the_user_tells):
    keras.utils.set_random_seed(1)
    model = Caser(5, 8, **(OPTIONS | {"hidden_dim": 8}))
    model.adapt(only_the_user_tells)
    model.compile(RowWiseAdam(0.02))
    batches = pipelines.next_item(only_the_user_tells, max_length=8, batch_size=4)
    model.fit(batches.repeat(40), shuffle=False, verbose=0)
    return model


def test_two_users_with_the_same_history_get_what_each_likes(trained, only_the_user_tells):
    scores = scores_of(trained, [[1, 2, 3]] * 8, range(8))
    assert scores.argmax(axis=1).tolist() == [4, 5] * 4
    report = trained.evaluate(
        pipelines.ranking(only_the_user_tells, "test", max_length=8), verbose=0, return_dict=True
    )
    assert report["kept_mrr"] == pytest.approx(1)
    new = scores_of(trained, [[1, 2, 3]])[0]
    assert set(new.argsort()[-2:]) == {4, 5}  # of somebody new both are likely


def test_a_reloaded_model_knows_its_users(trained, tmp_path):
    trained.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    assert reloaded.get_config()["num_users"] == 8
    for users in (range(8), None):
        inputs = ([[1, 2, 3]] * 8, users)
        np.testing.assert_array_equal(scores_of(reloaded, *inputs), scores_of(trained, *inputs))
    for one, other in zip(reloaded.optimizer.variables, trained.optimizer.variables, strict=True):
        np.testing.assert_array_equal(one, other)


def test_adapt_makes_room_for_users_before_compile_and_keeps_them_after(only_the_user_tells, make_split):
    model = build(num_users=0)
    assert model.predict(inputs_of(X), verbose=0).shape == (3, NUM_ITEMS + 1)
    model.adapt(only_the_user_tells)
    model.users.table.assign_add(np.ones((9, DIM)))
    assert model.get_config()["num_users"] == 8
    expected = scores_of(model, X)
    np.testing.assert_allclose(model.predict(inputs_of(X), verbose=0), expected, rtol=1e-4)
    model.compile("sgd")
    model.adapt(only_the_user_tells)
    np.testing.assert_array_equal(scores_of(model, X), expected)
    with pytest.raises(InputError) as caught:
        model.adapt(make_split([[1, 2, 3]]))
    assert str(caught.value) == (
        "`split` should be of 8 users, as the compiled model is (adapt it before compile). "
        "Received: `split` = '1 users'."
    )


@pytest.mark.slow
def test_train_learns_the_cyclic_log(cyclic_log, tmp_path):
    settings = ["hidden_dim=8", "batch_size=32", "learning_rate=0.02", "dropout=0", "markov_order=2"]
    arguments = [
        "--data",
        str(cyclic_log),
        "--max-length",
        "4",
        "--epochs",
        "6",
        "--out",
        str(tmp_path / "run"),
    ]
    assert cli.main(["train", "--model", "caser", *arguments, "--set", *settings]) == 0
    run = load_run(tmp_path / "run")
    assert run.model.config["num_users"] == 36 and "num_users" not in run.config.flat()
    scores = scores_of(run.model, [[3, 4]] * 2, [0, 35])
    assert run.log.raw_items(scores.argmax(axis=1)) == run.log.raw_items(np.array([5, 5]))
