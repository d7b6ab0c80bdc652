"""The recipes of items that are their own targets and of pairs with the same target, against plain loops."""

import itertools

import numpy as np
import pytest

from metasgcl_tf.data import pipelines
from metasgcl_tf.data.windows import another_alike
from tests.data_side import LENGTHS, numbered, read, training_part

both_recipes = pytest.mark.parametrize(
    "recipe", [pipelines.own_item, pipelines.prefix_pairs], ids=lambda recipe: recipe.__name__
)


@pytest.fixture(scope="module")
def histories():
    return numbered(LENGTHS)


@pytest.fixture(scope="module")
def split(make_split, histories):
    return make_split(histories)


def unpadded(row):
    real = row > 0
    assert not (real[:-1] & ~real[1:]).any()  # left padded
    return row[real].tolist()


# ---- own_item -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("max_length", "batch_size"), [(1, 4), (2, 4), (3, 1), (3, 1000), (5, 4), (8, 1000), (50, 4), (200, 4)]
)
def test_every_training_item_is_its_own_target_once(split, histories, max_length, batch_size):
    found = []
    batches = pipelines.own_item(split, max_length=max_length, batch_size=batch_size)
    for inputs, targets, weights in read(batches):
        assert targets.shape == weights.shape == inputs["item_ids"].shape and targets.shape[1] <= max_length
        assert ((targets > 0) == (weights > 0)).all()
        for user, items, own in zip(inputs["user_index"], inputs["item_ids"], targets, strict=True):
            window, first = unpadded(items), unpadded(own)[0]
            assert window == list(range(window[0], window[-1] + 1))
            assert set(window) <= set(training_part(histories[user]))
            # The targets are the newest of the window; before them a quarter of a window is in sight.
            assert own.tolist() == [item if item >= first else 0 for item in items]
            assert first - window[0] == min(first - histories[user][0], max_length // 4)
            found += unpadded(own)
    assert sorted(found) == [item for history in histories for item in training_part(history)]


def test_own_items_have_the_same_weight_and_an_epoch_weighs_its_batches(split):
    batches = read(pipelines.own_item(split, max_length=8, batch_size=4))
    weights = np.concatenate([w[w > 0] for _, _, w in batches])
    assert len(weights) == sum(len(training_part([None] * n)) for n in LENGTHS)
    np.testing.assert_allclose(weights, len(batches) / len(weights), rtol=1e-6)


# ---- prefix_pairs -------------------------------------------------------------------------------

# In the training parts 9 is a target four times, 8 three times, 1 and 4 and 5 once each; item 7 is held out.
FEW_TARGETS = [[1, 9, 8, 7, 7], [2, 9, 9, 7, 7], [3, 4, 8, 9, 7, 7], [4, 1, 5, 8, 7, 7]]


def prefixes(max_length):
    """{(user, items before the target): target}, for all prefixes."""
    parts = {user: training_part(history) for user, history in enumerate(FEW_TARGETS)}
    places = [(user, place) for user, part in parts.items() for place in range(1, len(part))]
    return {(u, p): (tuple(parts[u][max(0, p - max_length) : p]), parts[u][p]) for u, p in places}


@pytest.mark.parametrize(("max_length", "batch_size"), [(1, 4), (2, 1), (2, 4), (50, 4), (50, 100)])
def test_the_partner_is_another_prefix_with_the_same_target_where_there_is_one(
    make_split, max_length, batch_size
):
    batches = pipelines.prefix_pairs(make_split(FEW_TARGETS), max_length=max_length, batch_size=batch_size)
    expected: dict = {}
    for sample, (items, target) in prefixes(max_length).items():
        others = [o for s, (o, t) in prefixes(max_length).items() if t == target and s != sample]
        expected.setdefault((sample[0], items, target), set()).update(others or [items])
    found: dict = {}
    for inputs, targets, _ in read(batches.repeat(30)):
        rows = (inputs["user_index"], inputs["item_ids"], inputs["same_target_ids"], targets[:, 0])
        for user, own, partner, target in zip(*rows, strict=True):
            sample = int(user), tuple(unpadded(own)), int(target)
            found.setdefault(sample, set()).add(tuple(unpadded(partner)))
    assert found == expected  # in 30 epochs each of at most three others was drawn


def test_beside_their_partners_the_samples_are_those_of_every_prefix(make_split):
    def rows(recipe):
        batches = read(recipe(make_split(FEW_TARGETS), max_length=3, batch_size=4))
        assert all(y.shape == w.shape == (len(x["item_ids"]), 1) for x, y, w in batches)
        assert {float(w) for _, _, weights in batches for w in weights[:, 0]} == {np.float32(3 / 10)}
        return sorted(
            (int(user), unpadded(items), int(target))
            for x, y, _ in batches
            for user, items, target in zip(x["user_index"], x["item_ids"], y[:, 0], strict=True)
        )

    assert rows(pipelines.prefix_pairs) == rows(pipelines.every_prefix)


def test_pairs_of_like_lengths_go_together(make_split):
    # 99 follows one item in 8 histories and nine in 8 others, so that short and long prefixes are paired.
    histories = [[*range(n * 10 + 1, n * 10 + 1 + k), 99, 7, 7] for n, k in enumerate([1] * 8 + [9] * 8)]
    shapes, together = set(), []
    for inputs, _, _ in read(pipelines.prefix_pairs(make_split(histories), max_length=9, batch_size=2)):
        ids = [inputs["item_ids"], inputs["same_target_ids"]]
        shapes.add(tuple(each.shape[1] for each in ids))
        together.append([len(set((each > 0).sum(axis=1))) == 1 for each in ids])
    assert {(1, 1), (1, 9), (9, 1), (9, 9)} <= shapes
    assert np.mean(together) > 0.9  # but for the batches where one kind ends and the next begins


@both_recipes
def test_an_epoch_depends_on_its_seed_and_number_alone(make_split, split, recipe):
    log = split if recipe is pipelines.own_item else make_split(FEW_TARGETS * 3)

    def passes(count, **options):
        batches = recipe(log, max_length=5, batch_size=4, **options)
        keys = ("item_ids", "user_index", "same_target_ids")
        return [
            [[x[key].tolist() for key in keys if key in x] for x, _, _ in read(batches)] for _ in range(count)
        ]

    first = passes(4, seed=3)
    assert passes(4, seed=3) == first
    assert all(a != b for a, b in itertools.combinations(first, 2))
    assert passes(1, seed=4)[0] not in first
    assert passes(2, seed=3, first_epoch=2) == first[2:]


@both_recipes
def test_little_is_padded(make_split, recipe):
    random = np.random.default_rng(0)
    lengths = 4 + random.geometric(1 / 5, 1500)  # like the Amazon logs: 5 and a long tail
    split = make_split([random.integers(1, 500, n).tolist() for n in lengths], num_items=499)
    batches = read(recipe(split, max_length=50, batch_size=48))
    item_ids = [x[key] for x, _, _ in batches for key in ("item_ids", "same_target_ids") if key in x]
    padded = sum((ids == 0).sum() for ids in item_ids) / sum(ids.size for ids in item_ids)
    assert padded <= 0.15


# ---- another_alike ------------------------------------------------------------------------------


def test_another_place_with_the_same_label_is_drawn_evenly():
    labels, random = np.array([5, 2, 5, 7, 2, 5, 5]), np.random.default_rng(0)
    drawn = np.stack([another_alike(labels, random) for _ in range(3000)])
    for place, label in enumerate(labels):
        others = [n for n in np.flatnonzero(labels == label) if n != place] or [place]
        counts = np.bincount(drawn[:, place], minlength=len(labels))
        assert set(np.flatnonzero(counts)) == set(others)
        np.testing.assert_allclose(counts[others] / 3000, 1 / len(others), atol=0.04)


def test_of_no_labels_nothing_is_drawn():
    assert another_alike(np.zeros(0, np.int32), np.random.default_rng(0)).shape == (0,)
