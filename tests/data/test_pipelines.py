"""Training windows and ranking batches, against plain loops over the histories.

In the logs made here the items are numbered 1, 2, 3, ... from the first interaction to the last, so that
an item id tells where in the log it stands: the items before target t are t - 1, t - 2, ...
"""

import itertools

import numpy as np
import pytest

from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.datasets import load
from metasgcl_tf.models import SASRec
from tests.data_side import LENGTHS, numbered, read, training_part

RECIPES = [pipelines.next_item, pipelines.every_prefix]
both_recipes = pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)


@pytest.fixture(scope="module")
def histories():
    return numbered(LENGTHS)


@pytest.fixture(scope="module")
def split(make_split, histories):
    return make_split(histories)


def samples(batches):
    """(user, context, target) for every target; the context is what stands up to its input, unpadded."""
    for inputs, targets, weights in read(batches):
        assert ((targets > 0) == (weights > 0)).all()
        rows = zip(inputs["user_index"], inputs["item_ids"], targets, strict=True)
        for user, item_ids, row_targets in rows:
            real = item_ids > 0
            assert real.any() and not (real[:-1] & ~real[1:]).any()  # left padded
            for place in np.flatnonzero(row_targets) - len(row_targets):  # counted from the newest
                context = item_ids[: len(item_ids) + place + 1]
                yield int(user), context[context > 0].tolist(), int(row_targets[place])


@both_recipes
@pytest.mark.parametrize(
    ("max_length", "batch_size"),
    [(1, 4), (2, 4), (3, 1), (3, 1000), (5, 4), (8, 1000), (50, 4), (200, 4), (5, 2**40)],
)
def test_every_training_target_comes_once_after_the_items_before_it(
    split, histories, recipe, max_length, batch_size
):
    found = list(samples(recipe(split, max_length=max_length, batch_size=batch_size)))
    expected = {target: user for user, items in enumerate(histories) for target in training_part(items)[1:]}
    assert sorted(target for _, _, target in found) == sorted(expected)
    for user, context, target in found:
        assert user == expected[target]
        before = list(range(histories[user][0], target))
        assert 1 <= len(context) <= max_length
        assert context == before[-len(context) :]
        if recipe is pipelines.every_prefix:
            assert len(context) == min(len(before), max_length)
        else:  # the overlap of windows: a quarter of a window is always in sight
            assert len(context) >= min(len(before), max_length // 4 + 1)


@both_recipes
def test_batches_have_the_shapes_and_types_of_the_contract(split, recipe):
    batches = recipe(split, max_length=8, batch_size=4)
    read_batches = read(batches)
    assert len(read_batches) == int(batches.cardinality())
    for inputs, targets, weights in read_batches:
        assert inputs["item_ids"].dtype == inputs["user_index"].dtype == targets.dtype == np.int32
        batch_size, length = inputs["item_ids"].shape
        assert inputs["user_index"].shape == (batch_size,) and length <= 8
        newest = 1 if recipe is pipelines.every_prefix else length
        assert targets.shape == weights.shape == (batch_size, newest) and weights.dtype == np.float32
    assert sorted(len(y) for _, y, _ in read_batches)[1:] == [4] * (len(read_batches) - 1)


@both_recipes
def test_every_target_has_the_same_weight_and_an_epoch_weighs_its_batches(split, recipe):
    batches = read(recipe(split, max_length=8, batch_size=4))
    weights = np.concatenate([w[w > 0] for _, _, w in batches])
    assert len(set(weights.tolist())) == 1
    num_targets = sum(len(training_part([None] * n)) - 1 for n in LENGTHS)
    np.testing.assert_allclose(weights[0], len(batches) / num_targets, rtol=1e-6)
    # The mean over batches of weighted sums is the mean over targets.
    np.testing.assert_allclose(np.mean([w.sum() for _, _, w in batches]), 1, rtol=1e-5)


def passes(batches, count):
    """What `count` passes over the data set give, each as one list of item ids and users."""

    def one_pass():
        return [(x["item_ids"].tolist(), x["user_index"].tolist()) for x, _, _ in read(batches)]

    return [one_pass() for _ in range(count)]


@both_recipes
def test_the_order_of_an_epoch_depends_on_seed_and_epoch_alone(split, recipe):
    options = {"max_length": 5, "batch_size": 4}
    first = passes(recipe(split, seed=3, **options), 4)
    assert passes(recipe(split, seed=3, **options), 4) == first
    assert all(a != b for a, b in itertools.combinations(first, 2))
    assert passes(recipe(split, seed=4, **options), 1)[0] not in first
    # A resumed training sees what an uninterrupted one would have seen.
    assert passes(recipe(split, seed=3, first_epoch=2, **options), 2) == first[2:]


def test_every_interaction_of_a_training_part_comes_once_with_its_user_and_no_history(split, histories):
    batches = pipelines.every_interaction(split, max_length=8, batch_size=4)
    read_batches = read(batches)
    assert len(read_batches) == int(batches.cardinality())
    expected = {(u, item) for u, items in enumerate(histories) for item in training_part(items)}
    assert (0, 1) in expected  # the first item of the log, which no other recipe has for a target
    found = []
    for inputs, targets, weights in read_batches:
        assert not inputs["item_ids"].any()
        assert targets.shape == weights.shape == (len(inputs["user_index"]), 1)
        np.testing.assert_allclose(weights, len(read_batches) / len(expected), rtol=1e-6)
        found += zip(inputs["user_index"].tolist(), targets[:, 0].tolist(), strict=True)
    assert len(found) == len(expected) and set(found) == expected
    again = read(pipelines.every_interaction(split, batch_size=4, seed=1))
    assert [y.tolist() for _, y, _ in again] != [y.tolist() for _, y, _ in read_batches]


def test_an_epoch_of_fit_is_one_pass(split, monkeypatch):
    seen, plan = [], pipelines.epoch_plan
    monkeypatch.setattr(pipelines, "epoch_plan", lambda *args: seen.append(args[-1]) or plan(*args))
    model = SASRec(split.log.num_items, 4, hidden_dim=2, num_layers=1, num_heads=1)
    model.compile("sgd", run_eagerly=True)
    batches = pipelines.next_item(split, max_length=4, batch_size=16, first_epoch=5)
    model.fit(batches, epochs=3, shuffle=False, verbose=0)
    assert seen == [5, 6, 7]


@both_recipes
def test_little_is_padded(make_split, recipe):
    lengths = 4 + np.random.default_rng(0).geometric(1 / 5, 1500)  # like the Amazon logs: 5 and a long tail
    batches = read(recipe(make_split(numbered(lengths)), max_length=50, batch_size=48))
    item_ids = [x["item_ids"] for x, _, _ in batches]
    padded = sum((ids == 0).sum() for ids in item_ids) / sum(ids.size for ids in item_ids)
    assert padded <= 0.15


def planned_share_of_padding(split, max_length, batch_size):
    """Of an epoch of `next_item`, from its plan alone: no batch is gathered."""
    windows, buckets = pipelines.all_position_windows(split, max_length), pipelines.length_buckets(max_length)
    lengths = windows.end - windows.begin
    plan = pipelines.epoch_plan(lengths, buckets, batch_size, seed=0, epoch=0)
    longest = np.where(plan >= 0, lengths[plan], 0).max(axis=1)
    places = buckets[np.searchsorted(buckets, longest)] * (plan >= 0).sum(axis=1)
    return 1 - lengths.sum() / places.sum()


def test_the_plan_tells_how_much_is_padded(make_split):
    split = make_split(numbered(3 + np.random.default_rng(1).geometric(1 / 9, 300)))
    item_ids = [x["item_ids"] for x, _, _ in read(pipelines.next_item(split, max_length=20, batch_size=16))]
    padded = sum((ids == 0).sum() for ids in item_ids) / sum(ids.size for ids in item_ids)
    assert 0.01 < padded == pytest.approx(planned_share_of_padding(split, 20, 16))


@pytest.mark.parametrize("batch_size", [32, 128])
@pytest.mark.parametrize(("name", "max_length"), [("toys", 50), ("clothing", 50), ("ml-1m", 200)])
def test_little_of_the_real_logs_is_padded(shared_data, name, max_length, batch_size):
    split = leave_one_out(load(shared_data / f"{name}.txt.gz", k_core=1))
    assert planned_share_of_padding(split, max_length, batch_size) <= 0.15


@both_recipes
def test_it_is_known_in_advance_how_many_targets_a_row_of_prefixes_has(split, recipe):
    _, targets, weights = recipe(split, max_length=8, batch_size=4).element_spec
    newest = 1 if recipe is pipelines.every_prefix else None
    assert targets.shape.as_list() == weights.shape.as_list() == [None, newest]


@pytest.mark.parametrize("max_length", [1, 2, 3, 4, 5, 50, 200])
def test_lengths_batches_are_padded_to(max_length):
    buckets = pipelines.length_buckets(max_length)
    assert buckets[-1] == max_length and (np.diff(buckets) > 0).all()
    assert all(b <= max(a * 1.25, a + 1) for a, b in itertools.pairwise(buckets))


def test_lengths_by_hand():
    assert pipelines.length_buckets(30).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 15, 18, 22, 27, 30]
    found = pipelines.bucketed_lengths(np.array([[1, 8, 9], [10, 23, 28]]))
    assert found.tolist() == [[1, 8, 10], [10, 27, 33]]


# ---- ranking ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("part", "held_out"), [("valid", 2), ("test", 1)])
@pytest.mark.parametrize("max_length", [1, 3, 50])
def test_ranking_asks_every_evaluated_user_once_after_the_whole_history(
    split, histories, part, held_out, max_length
):
    asked = []
    for inputs, targets in pipelines.ranking(split, part, max_length=max_length, batch_size=3):
        assert inputs["item_ids"].shape[1] <= max_length
        for user, item_ids, seen, target in zip(
            *(inputs[key].numpy() for key in ("user_index", "item_ids", "seen")), targets.numpy(), strict=True
        ):
            history = histories[user][:-held_out]
            assert target == histories[user][-held_out]
            assert item_ids[item_ids > 0].tolist() == history[-max_length:]
            assert item_ids[-1] != 0
            # The whole history, beyond `max_length`; for the test part it includes the validation item.
            assert sorted(seen[seen > 0].tolist()) == history
            asked.append(int(user))
    assert sorted(asked) == [user for user, n in enumerate(LENGTHS) if n >= 3]
    assert [LENGTHS[user] for user in asked] == sorted(LENGTHS[user] for user in asked)


def test_a_repeated_item_is_seen_once(make_split):
    split = make_split([[2, 1, 2, 2, 1, 3], [4, 4, 4]])
    seen = {
        int(user): sorted(row[row > 0].tolist())
        for inputs, _ in pipelines.ranking(split, "test", max_length=10)
        for user, row in zip(inputs["user_index"].numpy(), inputs["seen"].numpy(), strict=True)
    }
    assert seen == {0: [1, 2], 1: [4]}


@pytest.mark.parametrize("max_length", [50, 200])
def test_ranking_batches_have_few_shapes(make_split, max_length):
    split = make_split(numbered(np.arange(3, 120)))
    shapes = {
        (inputs["item_ids"].shape[1], inputs["seen"].shape[1])
        for inputs, _ in pipelines.ranking(split, "test", max_length=max_length, batch_size=2)
    }
    looked_at, seen = map(set, zip(*shapes, strict=True))
    longest = set(pipelines.length_buckets(119).tolist())
    assert seen <= longest and max(seen) >= 118
    assert looked_at == {min(length, max_length) for length in seen}
    assert len(shapes) <= 20  # of 117 lengths


def test_no_batches_are_tuned(split):
    batches = [recipe(split, max_length=4, batch_size=4) for recipe in RECIPES]
    for each in (*batches, pipelines.ranking(split, "test", max_length=4)):
        assert each.options().autotune.enabled is False  # the end of an epoch would wait for the tuner


def test_ranking_takes_as_many_rows_at_once_as_suit_the_catalogue(make_split, monkeypatch):
    split = make_split([[1, 2, 3]] * 7, num_items=9)
    monkeypatch.setattr(pipelines, "rows_at_once", lambda num_items: {9: 3}[num_items])
    sizes = [len(targets) for _, targets in pipelines.ranking(split, "test", max_length=5)]
    assert sizes == [3, 3, 1]


@pytest.mark.parametrize("num_items", [1, 100, 11_924, 16_383, 16_384, 10**6, 10**7])
def test_scores_of_the_rows_at_once_stay_below_32_megabytes(num_items):
    rows = pipelines.rows_at_once(num_items)
    assert 1 <= rows <= 512
    assert rows == 1 or 4 * rows * (num_items + 1) <= 2**25
    assert rows == 512 or 4 * (rows + 1) * (num_items + 1) > 2**25  # and not fewer than could be
