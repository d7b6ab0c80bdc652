"""Leave-one-out by hand."""

import numpy as np
import pytest

from metasgcl_tf.errors import InputError

# Users with 1, 2, 3 and 5 interactions.
HISTORIES = [[1], [2, 3], [3, 1, 2], [1, 2, 3, 2, 4]]


@pytest.fixture
def split(make_split):
    return make_split(HISTORIES)


def test_the_last_two_items_are_held_out_where_there_are_three(split):
    training = [
        split.log.item_index[begin:end].tolist()
        for begin, end in zip(split.train_begin, split.train_end, strict=True)
    ]
    assert training == [[1], [2, 3], [3], [1, 2, 3]]
    assert split.evaluated.tolist() == [2, 3]
    assert split.log.item_index[split.target_position("valid")].tolist() == [1, 2]
    assert split.log.item_index[split.target_position("test")].tolist() == [2, 4]


def test_item_counts_know_the_training_part_only(split):
    assert split.item_counts().tolist() == [0, 2, 2, 3, 0]  # item 4 is only ever a test item


def test_training_pairs_stay_within_a_user_and_the_training_part(split):
    def pairs(distance):
        return [tuple(map(int, pair)) for pair in zip(*split.training_pairs(distance), strict=True)]

    assert pairs(1) == [(2, 3), (1, 2), (2, 3)]
    assert pairs(2) == [(1, 3)]
    assert pairs(3) == pairs(11) == pairs(100) == []


def test_counts_and_their_description(split):
    counts = split.counts()
    assert (counts["users"], counts["items"], counts["interactions"]) == (4, 4, 11)
    assert counts["users_training_only"] == 2
    assert split.describe() == (
        "4 users, 4 items, 11 interactions; 2 users with fewer than 3 interactions are for training only"
    )


def test_a_log_where_nobody_can_be_evaluated_is_refused(make_split):
    with pytest.raises(InputError, match=r"at least 3 interactions.*Received: 2 users.* has 2\.$"):
        make_split([[1], [1, 2]])


def test_exactly_three_interactions_are_enough(make_split):
    split = make_split([[1, 2, 3]])
    assert split.evaluated.tolist() == [0]
    assert split.train_end.tolist() == [1]
    np.testing.assert_array_equal(split.target_position("valid"), [1])
