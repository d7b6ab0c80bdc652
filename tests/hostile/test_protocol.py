"""Ids, split, batches and ranks of any log, against plain loops over lists."""

import math

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metasgcl_tf.data import pipelines
from metasgcl_tf.data.interactions import InteractionLog, prepare_log
from metasgcl_tf.errors import InputError
from metasgcl_tf.metrics import both_protocols, target_ranks
from tests.data_side import numbered, read, training_part

# ---- ids ----------------------------------------------------------------------------------------

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=5).map("x{}".format)


def logs():
    """Rows of a log: ids are 64-bit integers or any text, few enough to meet again."""

    def rows(users, items):
        row = st.tuples(st.sampled_from(users), st.sampled_from(items), st.integers(0, 3))
        return st.lists(row, min_size=1, max_size=30)

    some = lambda ids: st.lists(ids, min_size=1, max_size=6, unique=True)  # noqa: E731
    return st.tuples(some(INTEGERS) | some(TEXTS), some(INTEGERS) | some(TEXTS)).flatmap(
        lambda ids: rows(*ids)
    )


@given(rows=logs(), unknown=INTEGERS | TEXTS)
def test_raw_ids_become_dense_and_come_back(tmp_path, rows, unknown):
    prepared = prepare_log(pl.DataFrame(rows, schema=["user", "item", "time"], orient="row"), k_core=1)
    prepared.save(tmp_path)
    for log in (prepared, InteractionLog.load(tmp_path)):
        assert set(log.users) == {user for user, _, _ in rows} and log.users.is_unique().all()
        assert set(log.items) == {item for _, item, _ in rows} and log.items.is_unique().all()
        for place, user in enumerate(log.users):
            assert log.user_index(user) == log.user_index(str(user)) == place
            # In time order, ties as they came, the same user, item and time once.
            own = dict.fromkeys((time, item) for whose, item, time in rows if whose == user)
            assert log.raw_items(log.history(place)) == [i for _, i in sorted(own, key=lambda pair: pair[0])]
        assert log.raw_items(log.item_indices(log.items.to_list())) == log.items.to_list()
        if unknown not in log.items.to_list():
            assert log.item_indices([unknown]).tolist() == [0]
        if unknown not in log.users.to_list():
            assert log.user_index(unknown) is None


# ---- split --------------------------------------------------------------------------------------

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=8)


def split_of(make_split, lengths):
    """The split of numbered histories, or None where it is right to refuse them."""
    if max(lengths) >= 3:
        return make_split(numbered(lengths))
    with pytest.raises(InputError, match="at least 3 interactions"):
        make_split(numbered(lengths))
    return None


@given(lengths=LENGTHS)
def test_every_interaction_is_in_one_part_the_right_one(make_split, lengths):
    split = split_of(make_split, lengths)
    if split is None:
        return
    items, offsets = split.log.item_index.tolist(), split.log.offsets.tolist()
    parts = [(items[begin:end], []) for begin, end in zip(split.train_begin, split.train_end, strict=True)]
    for part in ("valid", "test"):
        for user, at in zip(split.evaluated, split.target_position(part), strict=True):
            parts[user][1].append(items[at])
    for (train, held_out), begin, end in zip(parts, offsets[:-1], offsets[1:], strict=True):
        history = items[begin:end]
        assert train == training_part(history) and held_out == history[len(train) :]
    assert split.item_counts().sum() == sum(len(train) for train, _ in parts)


# ---- batches ------------------------------------------------------------------------------------

RECIPES = {
    "next_item": pipelines.next_item,
    "every_prefix": pipelines.every_prefix,
    "own_item": pipelines.own_item,
    "prefix_pairs": pipelines.prefix_pairs,
    "every_interaction": pipelines.every_interaction,
}
BATCHING = {"max_length": st.sampled_from([1, 2, 3, 5, 14]), "batch_size": st.integers(1, 9) | st.just(2**40)}


def is_left_padded(rows):
    return not ((rows[:, :-1] > 0) & (rows[:, 1:] == 0)).any()


@pytest.mark.parametrize("name", RECIPES)
@settings(max_examples=5)
@given(lengths=LENGTHS, epoch=st.integers(0, 3), **BATCHING)
def test_every_training_target_comes_once_an_epoch(make_split, name, lengths, max_length, batch_size, epoch):
    split = split_of(make_split, [*lengths, 4])
    own = name in ("own_item", "every_interaction")  # there, a first item is a target too
    expected = [item for h in numbered([*lengths, 4]) for item in training_part(h)[0 if own else 1 :]]
    options = {"max_length": max_length, "batch_size": batch_size, "seed": 1, "first_epoch": epoch}
    found, sizes = [], []
    for inputs, targets, weights in read(RECIPES[name](split, **options)):
        rows, length = inputs["item_ids"].shape
        assert rows == len(inputs["user_index"]) == len(targets) <= batch_size and length <= max_length
        assert targets.shape == weights.shape and targets.shape[1] in (1, length)
        assert is_left_padded(inputs["item_ids"]) and is_left_padded(targets)
        assert ((targets > 0) == (weights > 0)).all()
        found += targets[targets > 0].tolist()
        sizes.append(rows)
    assert sorted(found) == sorted(expected)
    assert sum(size < max(sizes) for size in sizes) <= 1


@pytest.mark.parametrize("part", ["valid", "test"])
@settings(max_examples=6)
@given(lengths=LENGTHS, **BATCHING)
def test_ranking_batches_ask_for_every_held_out_item(make_split, part, lengths, max_length, batch_size):
    split = split_of(make_split, [*lengths, 3])
    histories, asked = numbered([*lengths, 3]), []
    batches = pipelines.ranking(split, part, max_length=max_length, batch_size=batch_size)
    for inputs, targets in batches.as_numpy_iterator():
        assert len(targets) <= batch_size and is_left_padded(inputs["item_ids"])
        for row, target in enumerate(targets):
            user = inputs["user_index"][row]
            known = histories[user][: -2 if part == "valid" else -1]
            assert target == histories[user][len(known)]
            shown, seen = inputs["item_ids"][row], inputs["seen"][row]
            assert shown[shown > 0].tolist() == known[-max_length:] and sorted(seen[seen > 0]) == known
            asked.append(int(user))
    assert sorted(asked) == [user for user, history in enumerate(histories) if len(history) >= 3]


@pytest.mark.parametrize("name", RECIPES)
def test_a_log_without_a_training_target_and_sizes_below_1_are_refused(make_split, name):
    recipe = RECIPES[name]
    if name not in ("own_item", "every_interaction"):
        with pytest.raises(InputError, match="`split` should be of a log with something to train on"):
            recipe(make_split([[1, 2, 3], [1]]), max_length=5, batch_size=2)
    for sizes in ({"max_length": 5, "batch_size": 0}, {"max_length": 0, "batch_size": 5}):
        if name == "every_interaction" and not sizes["max_length"]:
            continue  # it has no length
        with pytest.raises(InputError, match="at least 1"):
            recipe(make_split([[1, 2, 3, 4]]), **sizes)


# ---- ranks --------------------------------------------------------------------------------------

SCORES = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, 1e-45, 3e38, -2.0])


def slow_rank(scores, target, masked):
    """1 and the number of items that are not worse: ties and NaN count against the target."""
    rivals = [item for item in range(1, len(scores)) if item != target and item not in masked]
    return 1 + sum(not scores[item] < scores[target] for item in rivals)


@given(data=st.data(), users=st.integers(1, 4), num_items=st.integers(1, 7), items_first=st.booleans())
def test_ranks_and_metrics_are_those_of_the_definition(data, users, num_items, items_first):
    row = st.lists(SCORES, min_size=num_items + 1, max_size=num_items + 1)
    scores = np.array(data.draw(st.lists(row, min_size=users, max_size=users)), np.float32)
    some_items = st.integers(1, num_items)
    targets = np.array(data.draw(st.lists(some_items, min_size=users, max_size=users)), np.int32)
    seen = [sorted(data.draw(st.sets(some_items))) for _ in range(users)]
    padded = np.array([[0] * (num_items + 1 - len(items)) + items for items in seen], np.int32)
    given_scores = scores.T.copy() if items_first else scores
    masked, kept = target_ranks(given_scores, targets, padded, items_first=items_first)
    rows = list(zip(scores, targets, seen, strict=True))
    assert np.array(masked).tolist() == [slow_rank(*row) for row in rows]
    assert np.array(kept).tolist() == [slow_rank(scores, target, []) for scores, target, _ in rows]
    for name, values in both_protocols(masked, kept).items():
        ranks = kept if name.startswith("kept_") else masked
        metric, _, k = name.removeprefix("kept_").partition("@")
        for rank, value in zip(np.array(ranks).tolist(), np.array(values).tolist(), strict=True):
            hit = not k or rank <= int(k)
            slow = {"hr": 1.0, "ndcg": 1 / math.log2(rank + 1), "mrr": 1 / rank}[metric] if hit else 0.0
            assert value == pytest.approx(slow, rel=1e-5)
