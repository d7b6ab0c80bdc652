"""Cleaning, k-core, numbering and storage, on logs whose result is known beforehand."""

import numpy as np
import polars as pl
import polars.testing
import pytest

from metasgcl_tf.data.interactions import InteractionLog, apply_k_core, prepare_log
from metasgcl_tf.data.readers import read_interactions
from metasgcl_tf.errors import InputError


def histories(log):
    """Raw ids: {user: [item, ...]}, users in the log's order."""
    return {user: log.raw_items(log.history(index)) for index, user in enumerate(log.users)}


def frame(rows, columns=("user", "item", "time")):
    return pl.DataFrame(rows, schema=list(columns), orient="row")


def test_numbering_follows_first_appearance():
    log = prepare_log(frame([("z", "q", 3), ("a", "r", 1), ("z", "p", 1), ("a", "q", 2)]), k_core=1)
    assert log.users.to_list() == ["z", "a"]
    assert log.items.to_list() == ["p", "q", "r"]  # z: p q, a: r q
    assert log.item_index.tolist() == [1, 2, 3, 2] and log.item_index.dtype == np.int32
    assert log.offsets.tolist() == [0, 2, 4] and log.offsets.dtype == np.int64
    assert (log.num_users, log.num_items, log.num_interactions) == (2, 3, 4)


def test_ties_in_time_keep_the_order_of_the_table():
    rows = [(user, item, item % 2) for item in range(40, 0, -1) for user in (1, 2)]
    even, odd = list(range(40, 0, -2)), list(range(39, 0, -2))
    assert histories(prepare_log(frame(rows), k_core=1)) == {1: even + odd, 2: even + odd}


def test_without_times_the_order_of_the_table_is_kept():
    rows = [(1, 9), (2, 8), (1, 7), (2, 9)]
    assert histories(prepare_log(frame(rows, ["user", "item"]), k_core=1)) == {1: [9, 7], 2: [8, 9]}


def test_the_same_user_item_and_time_is_one_interaction():
    rows = [(1, 5, 10), (1, 6, 10), (1, 5, 10), (1, 5, 11), (2, 5, 10)]
    log = prepare_log(frame(rows), k_core=1)
    assert histories(log) == {1: [5, 6, 5], 2: [5]}
    assert log.counts["duplicates_dropped"] == 1


def test_without_times_a_repeat_is_a_repeated_purchase():
    log = prepare_log(frame([(1, 5), (1, 5), (1, 6)], ["user", "item"]), k_core=1)
    assert histories(log) == {1: [5, 5, 6]}
    assert log.counts["duplicates_dropped"] == 0


def test_the_rating_threshold_comes_before_duplicates_and_k_core():
    rows = [(1, 5, 1, 2.0), (1, 5, 1, 4.0), (1, 6, 2, 5.0), (2, 5, 1, 4.0), (2, 6, 1, 3.9)]
    log = prepare_log(frame(rows, ["user", "item", "time", "rating"]), k_core=1, min_rating=4.0)
    assert histories(log) == {1: [5, 6], 2: [5]}
    assert log.counts == {
        "rows_read": 5,
        "below_rating": 2,
        "duplicates_dropped": 0,
        "dropped_by_k_core": 0,
        "k_core": 1,
    }


# Users 1 and 2 share items a and b. User 3 needs item c, which goes with user 4, who has one row:
# 4 falls, then c, then 3.
CASCADE = [(1, "a"), (1, "b"), (2, "a"), (3, "a"), (2, "b"), (3, "c"), (4, "c")]


def test_k_core_goes_on_until_nothing_more_falls():
    kept = apply_k_core(frame(CASCADE, ["user", "item"]), 2)
    assert kept.rows() == [(1, "a"), (1, "b"), (2, "a"), (2, "b")]
    assert apply_k_core(frame(CASCADE, ["user", "item"]), 3).height == 0
    assert apply_k_core(frame(CASCADE, ["user", "item"]), 1).rows() == CASCADE


def test_k_core_counts_what_it_drops():
    counts = prepare_log(frame(CASCADE, ["user", "item"]), k_core=2).counts
    assert (counts["rows_read"], counts["dropped_by_k_core"], counts["k_core"]) == (7, 3, 2)


RATED = frame([(1, 5, 1.0), (2, 6, 2.0)], ["user", "item", "rating"])


@pytest.mark.parametrize(
    ("table", "arguments", "parts"),
    [
        (RATED, {"k_core": 0}, ["`k_core`", "positive integer", "0"]),
        (RATED, {"k_core": 2.0}, ["`k_core`", "positive integer", "2.0"]),
        (RATED, {"k_core": True}, ["`k_core`", "positive integer", "True"]),
        (RATED, {"k_core": 2}, ["`k_core`", "Received: 2", "2 rows (2 users, 2 items)"]),
        (RATED, {"min_rating": 3.0}, ["`min_rating`", "3.0", "2 rows"]),
        (RATED, {"min_rating": float("nan")}, ["`min_rating`", "finite", "nan"]),
        (RATED.drop("rating"), {"min_rating": 3.0}, ["`min_rating`", "rating column", "['user', 'item']"]),
        (RATED.drop("user"), {}, ["`frame`", "'user'", "['item', 'rating']"]),
        (RATED.clear(), {}, ["`frame`", "0 rows"]),
        (RATED.cast({"user": pl.Float64}), {}, ["`frame`", "user", "Float64"]),
    ],
)
def test_unusable_input_is_refused_in_one_line(table, arguments, parts):
    with pytest.raises(InputError) as caught:
        prepare_log(table, **arguments)
    assert "\n" not in str(caught.value)
    for part in parts:
        assert part in str(caught.value)


@pytest.fixture
def log():
    return prepare_log(frame([(2**53 + 1, 12), (-4, 30), (-4, 12)], ["user", "item"]), k_core=1)


def test_raw_ids_are_found_as_numbers_and_as_text(log):
    assert [log.user_index(raw) for raw in (2**53 + 1, str(2**53 + 1), "-4", np.int64(-4))] == [0, 0, 1, 1]
    assert [log.user_index(raw) for raw in (2**53, "x", "", "-04", -4.0)] == [None] * 5
    indices = log.item_indices(["12", 30, "31", "012", np.int32(12)])
    assert indices.tolist() == [1, 2, 0, 0, 1] and indices.dtype == np.int32
    assert log.item_indices([]).dtype == np.int32
    assert log.raw_items(np.array([2, 1, 1])) == [30, 12, 12] and log.raw_items([]) == []


def test_text_ids_keep_their_zeros():
    log = prepare_log(frame([("007", "7"), ("a", "07")], ["user", "item"]), k_core=1)
    assert (log.user_index("007"), log.user_index("7")) == (0, None)
    assert log.item_indices([7, "07", "007"]).tolist() == [1, 2, 0]


def test_indices_out_of_range_are_refused(log):
    for call in (lambda: log.history(2), lambda: log.history(-1), lambda: log.raw_items([1, 0])):
        with pytest.raises(InputError, match="must be in"):
            call()


@pytest.mark.parametrize("kind", [pl.Int64, pl.String])
def test_a_saved_log_comes_back_the_same(tmp_path, log, kind):
    table = frame([(2**53 + 1, 12), (-4, 30), (-4, 12)], ["user", "item"]).cast(kind)
    log = prepare_log(table, k_core=1)
    log.save(tmp_path / "run" / "log")
    back = InteractionLog.load(tmp_path / "run" / "log")
    for name in ("item_index", "offsets"):
        before, after = getattr(log, name), getattr(back, name)
        np.testing.assert_array_equal(after, before, strict=True)
    polars.testing.assert_series_equal(back.users, log.users)
    polars.testing.assert_series_equal(back.items, log.items)
    assert back.users.dtype == back.items.dtype == kind
    assert back.counts == log.counts


def test_a_folder_without_a_log_is_refused(tmp_path, log):
    log.save(tmp_path)
    (tmp_path / "items.parquet").write_bytes(b"nothing of the kind")
    with pytest.raises(InputError, match=r"items\.parquet: not a table"):
        InteractionLog.load(tmp_path)
    (tmp_path / "items.parquet").unlink()
    with pytest.raises(InputError, match=r"items\.parquet: no such file"):
        InteractionLog.load(tmp_path)


def test_files_of_two_logs_are_not_mixed(tmp_path, log):
    log.save(tmp_path)
    pl.DataFrame({"item": [12]}).write_parquet(tmp_path / "items.parquet")
    with pytest.raises(InputError, match="not of one log"):
        InteractionLog.load(tmp_path)


@pytest.mark.parametrize(
    ("name", "users", "items", "interactions", "dropped"),
    [
        ("toys", 19_412, 11_924, 167_597, 0),
        ("clothing", 39_387, 23_033, 278_677, 0),
        ("ml-1m", 6_040, 3_416, 999_611, 598),
    ],
)
def test_real_logs_have_the_published_sizes(shared_data, name, users, items, interactions, dropped):
    log = prepare_log(read_interactions(shared_data / f"{name}.txt.gz"), k_core=5)
    assert (log.num_users, log.num_items, log.num_interactions) == (users, items, interactions)
    assert log.counts["dropped_by_k_core"] == dropped
    assert log.offsets[-1] == interactions
    assert (log.item_index.min(), log.item_index.max()) == (1, items)
