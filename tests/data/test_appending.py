"""A log that goes on keeps its ids."""

import polars as pl
import pytest

from metasgcl_tf.data.appending import appended
from metasgcl_tf.data.interactions import prepare_log


def log_of(users, items, times=None, k_core=1):
    columns = {"user": users, "item": items} | ({"time": times} if times else {})
    return prepare_log(pl.DataFrame(columns), k_core=k_core)


def histories(log):
    return {user: log.raw_items(log.history(row)) for row, user in enumerate(log.users)}


def test_known_ids_stay_and_new_ones_follow_in_the_order_of_time():
    log = log_of(["b", "b", "a"], ["y", "x", "y"])
    more = log_of(["c", "a", "a", "b"], ["x", "w", "v", "z"], times=[1, 9, 5, 7])
    whole = appended(log, more)
    assert whole.users.to_list() == ["b", "a", "c"]
    assert whole.items.to_list() == ["y", "x", "v", "w", "z"]
    assert histories(whole) == {"b": ["y", "x", "z"], "a": ["y", "v", "w"], "c": ["x"]}
    assert whole.item_index.dtype == log.item_index.dtype and whole.offsets.tolist() == [0, 3, 6, 7]


def test_counts_are_those_of_both():
    log = log_of(["a", "a", "b", "b", "c"], ["x", "y", "x", "y", "z"], k_core=2)
    more = log_of(["a", "a"], ["z", "z"], times=[1, 1])
    counts = {"rows_read": 7, "below_rating": 0, "duplicates_dropped": 1, "dropped_by_k_core": 1, "k_core": 2}
    once = appended(log, more)
    assert once.counts == counts | {"appended": 1}
    assert appended(once, log_of(["a"], ["w"])).counts["appended"] == 2


@pytest.mark.parametrize(
    ("known", "named", "whole"),
    [
        ([2**53 + 1, 7], [7, 2**53 + 2], [2**53 + 1, 7, 2**53 + 2]),
        ([2**53 + 1, 7], ["7", "x"], [str(2**53 + 1), "7", "x"]),
        (["07", "7"], [7, 8], ["07", "7", "8"]),
    ],
)
def test_ids_are_the_same_where_their_text_is(known, named, whole):
    log = appended(log_of(["a", "a"], known), log_of(["a", "a"], named))
    assert log.items.to_list() == whole and log.item_index.tolist()[:2] == [1, 2]
    assert log.num_items == 3


def test_an_old_log_given_again_is_noticed(recwarn):
    log, later = log_of(["a", "a", "b"], [1, 2, 1]), log_of(["a", "b"], [2, 3])
    appended(log, later)  # half of it
    assert not recwarn
    with pytest.warns(UserWarning, match="3 of 4 new interactions are with items that their user had before"):
        appended(log, log_of(["a", "a", "b", "b"], [1, 2, 1, 3]))
