"""The built-in log has the promised structure, and its best ranking is the exact one."""

import numpy as np
import pytest

from metasgcl_tf.datasets import synthetic


@pytest.fixture(scope="module")
def log():
    return synthetic.generate(seed=0)


@pytest.fixture(scope="module")
def histories(log):
    return log.group_by("user", maintain_order=True).agg("item")["item"].to_list()


@pytest.fixture(scope="module")
def probabilities(histories):
    """P(next item | all but the last item of every user), in batches as a caller would do it."""
    known = [history[:-1] for history in histories]
    batches = [synthetic.best_scores(known[start : start + 256]) for start in range(0, len(known), 256)]
    return np.concatenate(batches)


@pytest.fixture(scope="module")
def targets(histories):
    names = synthetic.item_names()
    return np.array([names.index(history[-1]) for history in histories])


def ndcg_at_10(scores, targets, probabilities):
    """Mean NDCG@10 over all unseen items (those with a probability above zero), ties against the target."""
    scores = np.where(probabilities > 0, scores, -np.inf)
    own = np.take_along_axis(scores, targets[:, None], axis=1)
    rank = (scores >= own).sum(axis=1)
    return np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0).mean()


def bayes_by_hand(history):
    """P(next item | history) from the definition, in plain loops over one user."""
    world = synthetic.make_world(0)
    names = synthetic.item_names()
    items = [names.index(name) for name in history]

    def step(taste, before, item):
        """P(item | taste, items before it)."""
        last = before[-1] if before else len(names)
        left = sum(world.table[taste, last, other] for other in range(len(names)) if other not in before)
        return 0.0 if item in before else world.table[taste, last, item] / left

    joint = []  # P(taste, history)
    for taste, prior in enumerate(world.prior):
        for position, item in enumerate(items):
            prior *= step(taste, items[:position], item)
        joint.append(prior)
    return [
        sum(weight * step(taste, items, item) for taste, weight in enumerate(joint)) / sum(joint)
        for item in range(len(names))
    ]


def test_the_seed_decides_the_log(log):
    assert synthetic.generate(seed=0).equals(log)
    lengths, other_lengths = (frame["user"].value_counts() for frame in (log, synthetic.generate(seed=1)))
    assert not lengths.sort("user").equals(other_lengths.sort("user"))


@pytest.mark.parametrize(("score_seed", "low", "high"), [(3, 0.2, 0.4), (4, 0.0, 0.1)])
def test_the_seed_alone_decides_the_process(score_seed, low, high):
    # Only the process behind a log gives its true next items a high probability, however few the users.
    few = synthetic.generate(seed=3, num_users=300).group_by("user", maintain_order=True).agg("item")
    histories = few["item"].to_list()
    names = synthetic.item_names()
    targets = [names.index(history[-1]) for history in histories]
    scores = synthetic.best_scores([history[:-1] for history in histories], seed=score_seed)
    assert low < scores[np.arange(300), targets].mean() < high


def test_rows_are_grouped_by_user_and_lengths_vary(log, histories):
    assert log.columns == ["user", "item"]
    assert (log["user"] != log["user"].shift(1)).sum() == synthetic.NUM_USERS - 1
    lengths = np.array([len(history) for history in histories])
    assert lengths.min() == synthetic.MIN_LENGTH
    assert lengths.max() == synthetic.MAX_LENGTH
    assert 14 < lengths.mean() < 17


def test_no_user_repeats_an_item(log):
    assert not log.is_duplicated().any()


def test_five_core_drops_nothing(log):
    # Users have at least MIN_LENGTH = 8 items, so items are all that has to be checked.
    counts = log["item"].value_counts()["count"]
    assert len(counts) == synthetic.NUM_ITEMS
    assert counts.min() >= 5


def test_popularity_is_skewed(log):
    counts = log["item"].value_counts(sort=True)["count"]
    assert counts.head(synthetic.NUM_ITEMS // 10).sum() > 0.25 * counts.sum()


def test_item_numbers_do_not_tell_popularity(log):
    counts = log["item"].value_counts().sort("item")["count"].to_numpy()
    assert abs(np.corrcoef(np.arange(len(counts)), counts)[0, 1]) < 0.2  # four standard errors


def test_probabilities_are_those_of_bayes_rule(histories):
    cases = [[], histories[0][:1], histories[1][:3], histories[2], histories[3][:7]]
    expected = [bayes_by_hand(case) for case in cases]
    np.testing.assert_allclose(synthetic.best_scores(cases), expected, rtol=1e-9, atol=1e-15)


def test_a_new_user_gets_popularity_under_the_prior():
    world = synthetic.make_world(0)
    expected = sum(share * row for share, row in zip(world.prior, world.table[:, -1], strict=True))
    np.testing.assert_allclose(synthetic.best_scores([[]])[0], expected)


def test_probabilities_sum_to_one_and_exclude_seen_items(histories, probabilities):
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    names = np.array(synthetic.item_names())
    for history, row in zip(histories, probabilities, strict=True):
        assert set(names[row == 0]) == set(history[:-1])


def test_probabilities_are_calibrated(probabilities, targets):
    # If p is the distribution of the target, E[p(target)] = E[sum p^2] and E[log p(target)] = E[sum p log p].
    given = np.take_along_axis(probabilities, targets[:, None], axis=1)[:, 0]
    logs = np.log(np.where(probabilities > 0, probabilities, 1.0))
    for gap in (given - (probabilities**2).sum(axis=1), np.log(given) - (probabilities * logs).sum(axis=1)):
        assert abs(gap.mean()) < 4 * gap.std() / np.sqrt(len(gap))


def test_nothing_simpler_ranks_as_well(log, histories, probabilities, targets):
    world = synthetic.make_world(0)
    names = synthetic.item_names()
    best = ndcg_at_10(probabilities, targets, probabilities)

    last = [names.index(history[-2]) for history in histories]
    without_history = np.einsum("g,gbn->bn", world.prior, world.table[:, last])
    popularity = np.broadcast_to(log["item"].value_counts().sort("item")["count"], probabilities.shape)
    blurred = probabilities * np.random.default_rng(0).lognormal(sigma=0.5, size=probabilities.shape)

    assert 0.6 < best < 0.8
    assert ndcg_at_10(blurred, targets, probabilities) < 0.99 * best
    assert ndcg_at_10(without_history, targets, probabilities) < 0.85 * best
    assert ndcg_at_10(popularity, targets, probabilities) < 0.3 * best


def test_columns_come_in_the_wanted_order(histories):
    wanted = ["i007", "i399", "i000"]
    scores = synthetic.best_scores(histories[:4], items=wanted)
    np.testing.assert_array_equal(scores, synthetic.best_scores(histories[:4])[:, [7, 399, 0]])


@pytest.mark.parametrize(
    ("histories", "items", "message"),
    [
        ([["i001", "shoe"]], None, "`histories` should hold items of the synthetic log. Received: 'shoe'"),
        ([["i001"]], ["hat"], "`items` should hold items of the synthetic log. Received: 'hat'"),
        ([["i001", "i002", "i001"]], None, "should not repeat an item. Received: `i001` twice"),
    ],
)
def test_impossible_input_is_named(histories, items, message):
    with pytest.raises(ValueError, match=message):
        synthetic.best_scores(histories, items=items)


def test_the_number_of_users_is_checked():
    with pytest.raises(ValueError, match="`num_users` should be a positive integer"):
        synthetic.generate(num_users=0)
