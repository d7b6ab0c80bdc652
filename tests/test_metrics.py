"""Ranks by hand, the metrics as functions of them, and keras-rs as an independent judge."""

import math

import keras_rs
import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.metrics import (
    RankingMeans,
    both_protocols,
    hit_rate,
    ndcg,
    ranking_metrics,
    reciprocal_rank,
    target_ranks,
)

NAN, INF = math.nan, math.inf


def items_first(scores, targets, seen):
    return target_ranks(tf.transpose(scores), targets, seen, items_first=True)


in_a_graph, items_first_in_a_graph = (
    tf.function(each, reduce_retracing=True) for each in (target_ranks, items_first)
)


@pytest.fixture(
    params=[target_ranks, in_a_graph, items_first, items_first_in_a_graph],
    ids=["eager", "graph", "items first, eager", "items first, graph"],
)
def ranks(request):
    """(masked, kept) rank of one target; `scores` of items 1, 2, ... after the padding column.

    In a graph too, as `evaluate` runs it: graph optimizers rewrite comparisons as if there were no NaN.
    """

    def rank_one(scores, target, seen=(0,)):
        arrays = np.array([[-INF, *scores]], np.float32), np.array([target]), np.array([seen], np.int32)
        masked, kept = request.param(*map(tf.constant, arrays))
        return int(masked[0]), int(kept[0])

    return rank_one


@pytest.mark.parametrize(
    ("scores", "target", "rank"),
    [
        pytest.param([4, 3, 2, 1], 1, 1, id="best"),
        pytest.param([4, 3, 2, 1], 4, 4, id="worst"),
        pytest.param([4, 3, 2, 1], 2, 2, id="between"),
        pytest.param([1, 1, 1, 1], 2, 4, id="constant scores rank last"),
        pytest.param([5, 3, 3, 1], 2, 3, id="a tie counts against the target"),
        pytest.param([5, NAN, 3, 1], 3, 3, id="a NaN rival counts against the target"),
        pytest.param([5, 3, NAN, 1], 3, 4, id="a NaN target ranks last"),
        pytest.param([-INF, -INF, 2], 1, 3, id="-inf ties with -inf"),
        pytest.param([7], 1, 1, id="a catalogue of one"),
    ],
)
def test_rank_without_seen_items(ranks, scores, target, rank):
    assert ranks(scores, target) == (rank, rank)


@pytest.mark.parametrize(
    ("scores", "target", "seen", "masked", "kept"),
    [
        pytest.param([4, 3, 2, 1], 3, [1, 0], 2, 3, id="one seen item outranked it"),
        pytest.param([4, 3, 2, 1], 3, [4, 0], 3, 3, id="a seen item below changes nothing"),
        pytest.param([4, 3, 2, 1], 3, [1, 2, 4], 1, 3, id="all others seen"),
        pytest.param([4, 3, 2, 1], 3, [3, 1], 2, 3, id="a seen target stays a candidate"),
        pytest.param([4, 2, 2, 1], 3, [2, 0], 2, 3, id="a seen item tied with it is no rival"),
        pytest.param([NAN, 2, 3, 1], 3, [1, 0], 1, 2, id="a seen NaN is no rival"),
        pytest.param([4, 3, NAN, 1], 3, [1, 4], 2, 4, id="a NaN target stands behind all unseen"),
    ],
)
def test_rank_with_seen_items(ranks, scores, target, seen, masked, kept):
    assert ranks(scores, target, seen) == (masked, kept)


@pytest.mark.parametrize("padding_score", [INF, NAN, 0.0, -INF])
def test_column_0_is_ignored_whatever_it_holds(padding_score):
    scores = np.array([[padding_score, -1.0, -2.0, -3.0]], np.float32)
    masked, kept = target_ranks(scores, np.array([2]), np.array([[0, 1, 0]]))
    assert (int(masked[0]), int(kept[0])) == (1, 2)


@pytest.mark.parametrize("rank_all", [target_ranks, items_first])
def test_each_row_has_its_own_target_and_seen_items(rank_all):
    scores = np.tile(np.array([-INF, 3, 2, 1], np.float32), (3, 1))
    masked, kept = rank_all(scores, np.array([1, 2, 3]), np.array([[2, 3], [1, 0], [0, 1]]))
    assert masked.numpy().tolist() == [1, 1, 2] and kept.numpy().tolist() == [1, 2, 3]


def test_metrics_of_ranks_by_hand():
    at = np.array([1, 2, 3, 5, 6])
    assert hit_rate(at, 5).numpy().tolist() == [1, 1, 1, 1, 0]
    np.testing.assert_allclose(ndcg(at, 5), [1, 1 / math.log2(3), 0.5, 1 / math.log2(6), 0], rtol=1e-6)
    np.testing.assert_allclose(reciprocal_rank(at), [1, 1 / 2, 1 / 3, 1 / 5, 1 / 6], rtol=1e-6)


def test_reported_names():
    names = {f"{metric}@{k}" for metric in ("hr", "ndcg") for k in (5, 10, 20)} | {"mrr"}
    values = ranking_metrics(np.array([7]))
    assert set(values) == names
    assert (float(values["hr@5"][0]), float(values["hr@10"][0])) == (0, 1)


def test_ranking_means_are_those_of_all_users_whatever_the_batches():
    masked, kept = np.array([1, 3, 30, 7, 2], np.int32), np.array([2, 3, 41, 9, 2], np.int32)
    means = RankingMeans()
    update = tf.function(means.update_state, reduce_retracing=True)
    for _ in range(2):
        means.reset_state()
        for users in (slice(0, 3), slice(3, 5)):
            update(masked[users], kept[users])
        expected = {name: np.mean(values) for name, values in both_protocols(masked, kept).items()}
        assert {name: float(mean) for name, mean in means.result().items()} == pytest.approx(expected, 1e-5)


def test_a_perfect_ranking_is_exactly_1_in_a_graph_too():
    means, first = RankingMeans(), np.ones(37, np.int32)
    tf.function(means.update_state)(first, first)
    assert set(map(float, means.result().values())) == {1.0}


@pytest.fixture(scope="module")
def random_ranking():
    """Scores without ties, targets, and a few seen items (0 where none) of 40 users and 60 items."""
    rng = np.random.default_rng(0)
    scores = np.array([rng.permutation(61) for _ in range(40)], np.float32)
    seen = np.array([rng.choice(np.arange(1, 61), 25, replace=False) for _ in range(40)])
    seen[rng.random(seen.shape) < 0.2] = 0
    targets = rng.integers(1, 61, 40)
    assert (seen == targets[:, None]).any()  # some targets were seen before
    return scores, targets, seen


@pytest.mark.parametrize("protocol", ["masked", "kept"])
def test_keras_rs_reports_the_same(random_ranking, protocol):
    scores, targets, seen = random_ranking
    values = ranking_metrics(target_ranks(scores, targets, seen)[protocol == "kept"])
    judged, users = scores.copy(), np.arange(len(scores))
    if protocol == "masked":
        own_scores = judged[users, targets]
        np.put_along_axis(judged, seen, -1e6, axis=1)
        judged[users, targets] = own_scores
    relevant = np.zeros_like(judged)
    relevant[users, targets] = 1
    judges = {"hr": keras_rs.metrics.RecallAtK, "ndcg": keras_rs.metrics.NDCG}
    for name, value in values.items():
        metric, _, k = name.partition("@")
        judge = judges[metric](k=int(k)) if k else keras_rs.metrics.MeanReciprocalRank()
        judge.update_state(relevant[:, 1:], judged[:, 1:])
        np.testing.assert_allclose(np.mean(value), judge.result(), rtol=1e-5, err_msg=name)
        assert 0 < np.mean(value) < 1
