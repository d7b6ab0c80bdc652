"""What a user may rely on whatever the model: one line a model in CASES."""

import dataclasses
import itertools
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.data import pipelines
from metasgcl_tf.errors import InputError
from metasgcl_tf.metrics import ranking_metrics
from metasgcl_tf.models import MODELS
from metasgcl_tf.models.growing import grown
from metasgcl_tf.optimizers import RowWiseAdam, carry_over
from metasgcl_tf.serving import Loaded
from metasgcl_tf.serving.endpoints import Serving


@dataclasses.dataclass(frozen=True)
class Case:
    """A small one of a model, and how it is trained on the cyclic log."""

    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int = 0
    learning_rate: float = 0.01
    learns_order: bool = True


TINY = {"hidden_dim": 16, "dropout": 0.1}
SMALL = TINY | {"num_layers": 1, "num_heads": 2}
CASES = {
    "meta_sgcl": Case(SMALL, epochs=25),
    "sasrec": Case(SMALL, epochs=25),
    "bert4rec": Case(SMALL | {"hidden_dim": 32, "last_only_prob": 0.5}, epochs=40, learning_rate=0.005),
    "duorec": Case(SMALL, epochs=25),
    "vsan": Case(SMALL, epochs=25),
    "acvae": Case({"hidden_dim": 32, "dropout": 0.1}, epochs=40),
    "contrast_vae": Case(SMALL, epochs=25),
    "gru4rec": Case(TINY, epochs=25),
    "caser": Case(TINY | {"num_horizontal": 4, "num_vertical": 2}, epochs=25),
    "bpr_mf": Case({"hidden_dim": 4}, epochs=5, learns_order=False),
    "item_cooccurrence": Case(),
    "pop": Case(learns_order=False),
}
NUM_ITEMS, MAX_LENGTH = 12, 6


def test_every_model_has_its_line():
    assert set(CASES) == set(MODELS)


def build(name, **options):
    sizes = {"num_items": NUM_ITEMS, "max_length": MAX_LENGTH}
    return MODELS[name](**(sizes | CASES[name].options | options))


@pytest.fixture(scope="module")
def cyclic(make_split):
    """The next item is known: 1, 2, ..., 12, 1, 2, ...; histories of 9 begin anywhere in the cycle."""
    starts = np.repeat(np.arange(NUM_ITEMS), 3)
    return make_split([((start + np.arange(9)) % NUM_ITEMS + 1).tolist() for start in starts])


# The dear ones, each with tests of its own: what they do here is for `-m slow`. Those that stay are of each
# kind: a Transformer in two steps, a recurrent network in one, a table of users, counts.
DEARER = ("sasrec", "bert4rec", "duorec", "vsan", "acvae", "contrast_vae", "caser")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=pytest.mark.slow if name in DEARER else ()) for name in CASES],
)
def name(request):
    return request.param


@pytest.fixture(scope="module")
def trained(name, cyclic):
    """The model of each line after its training; tests only read from it."""
    keras.utils.set_random_seed(1)
    model = build(name)
    model.adapt(cyclic)
    model.compile(RowWiseAdam(CASES[name].learning_rate))
    if epochs := CASES[name].epochs:
        fit_to(model, cyclic, epochs)
    return model


def fit_to(model, split, epochs):
    """Fits in one pass over a repeated data set, which is the same as many passes and begins but once."""
    batches = model.training_recipe(split, max_length=MAX_LENGTH, batch_size=8)
    model.fit(batches.repeat(epochs), shuffle=False, verbose=0)


@pytest.fixture(scope="module")
def rankings(cyclic):
    """The full ranking of each part, all users in one batch."""
    parts = ("valid", "test")
    return {part: pipelines.ranking(cyclic, part, max_length=MAX_LENGTH, batch_size=36) for part in parts}


@pytest.fixture(scope="module")
def ranking_in_parts(cyclic):
    return pipelines.ranking(cyclic, "test", max_length=MAX_LENGTH, batch_size=10)


@pytest.fixture(scope="module")
def asked(cyclic):
    """Of each user the whole history, its test item last, and what a model is told of it."""
    whole = [cyclic.log.history(user).tolist() for user in cyclic.evaluated]
    inputs = {"item_ids": [items[-MAX_LENGTH - 1 : -1] for items in whole], "user_index": cyclic.evaluated}
    return whole, inputs


@pytest.fixture
def histories():
    """Left padded, of every length from 1 to the longest."""
    rows = [np.arange(start, start + length) % NUM_ITEMS + 1 for start, length in enumerate(range(1, 7))]
    return np.stack([np.pad(row, (MAX_LENGTH - len(row), 0)) for row in rows]).astype(np.int32)


K = 6  # asked for throughout: each k is compiled anew


def scores_of(model, item_ids, **more):
    inputs = {name: np.asarray(value, np.int32) for name, value in {"item_ids": item_ids, **more}.items()}
    return keras.ops.convert_to_numpy(model.score_items(inputs))


TRANSFORMERS = ("meta_sgcl", "sasrec", "bert4rec", "duorec", "vsan", "contrast_vae")
NEURAL = (*TRANSFORMERS, "acvae", "gru4rec", "caser")
FEW_NEGATIVES = [
    # The items are learned in the first of two steps, as SASRec learns them in its one.
    pytest.param("meta_sgcl", "sampled_softmax", {}, marks=pytest.mark.slow),
    pytest.param("meta_sgcl", "gbce", {"training": "joint"}, marks=pytest.mark.slow),
    ("sasrec", "sampled_softmax", {}),
    pytest.param("sasrec", "gbce", {}, marks=pytest.mark.slow),  # as sampled_softmax, with another target
    pytest.param("sasrec", "bce", {}, marks=pytest.mark.slow),
    pytest.param("gru4rec", "bpr_max", {}, marks=pytest.mark.slow),
    pytest.param("gru4rec", "top1_max", {}, marks=pytest.mark.slow),
    pytest.param("caser", "bce", {}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("neural", "item_loss", "options"), FEW_NEGATIVES)
def test_it_learns_a_cyclic_log_from_few_negatives(neural, item_loss, options, cyclic, asked):
    keras.utils.set_random_seed(1)
    model = build(neural, item_loss=item_loss, num_negatives=4, **options)
    model.adapt(cyclic)
    model.compile(RowWiseAdam(0.02))
    fit_to(model, cyclic, CASES[neural].epochs + 5)
    whole, inputs = asked
    targets = np.array([items[-1] for items in whole])
    scores = scores_of(model, **inputs)
    ranks = (scores >= np.take_along_axis(scores, targets[:, None], axis=1)).sum(axis=1)
    assert np.mean(1 / ranks) > 0.9  # by chance 0.26


@pytest.mark.parametrize("part", ["valid", "test"])
def test_it_learns_a_cyclic_log(name, trained, rankings, part):
    if not CASES[name].learns_order:
        pytest.skip("this model knows no order; its own test says what it knows")
    report = trained.evaluate(rankings[part], verbose=0, return_dict=True)
    assert report["mrr"] == report["ndcg@5"] == 1  # rank 1 for every user


def test_evaluate_reports_both_protocols(trained, rankings, ranking_in_parts, asked):
    ranks, (whole, inputs) = {"": [], "kept_": []}, asked
    for (*history, target), scores in zip(whole, scores_of(trained, **inputs), strict=True):
        not_worse = {item for item in range(1, NUM_ITEMS + 1) if scores[item] >= scores[target]}
        ranks["kept_"].append(len(not_worse))
        ranks[""].append(len(not_worse - set(history) | {target}))
    expected = {
        prefix + name: np.mean(values)
        for prefix, protocol_ranks in ranks.items()
        for name, values in ranking_metrics(np.array(protocol_ranks)).items()
    }
    assert len(expected) == 14
    for batches in (ranking_in_parts, rankings["test"]):  # the mean over users, not over batches, and afresh
        report = trained.evaluate(batches, verbose=0, return_dict=True)
        report.pop("loss", None)
        assert report == pytest.approx(expected, rel=1e-5)


def test_predict_returns_a_score_for_every_item(trained, histories):
    scores = trained.predict({"item_ids": histories}, batch_size=4, verbose=0)
    assert scores.shape == (len(histories), NUM_ITEMS + 1) and scores.dtype == np.float32
    assert (scores[:, 0] == -np.inf).all() and np.isfinite(scores[:, 1:]).all()
    np.testing.assert_allclose(scores, scores_of(trained, histories), rtol=1e-4, atol=1e-5)


def test_config_round_trip(name):
    model = build(name)
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert [v.shape for v in again.variables] == [v.shape for v in model.variables]
    expected = {"num_items": NUM_ITEMS, "max_length": MAX_LENGTH} | CASES[name].options
    assert expected.items() <= model.get_config().items()


def test_a_reloaded_model_gives_the_same_scores(trained, histories, tmp_path):
    trained.recommend(histories, K)  # what it has compiled is not saved
    trained.save(tmp_path / "model.keras")
    reloaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(scores_of(reloaded, histories), scores_of(trained, histories))


def test_an_exported_model_gives_the_same_answers(trained, histories, tmp_path):
    (tmp_path / "items.txt").write_text("".join(f"{item + 100}\n" for item in range(1, NUM_ITEMS + 1)))
    serving = Serving(trained, str(tmp_path / "items.txt"), np.zeros(NUM_ITEMS + 1, np.float32), tf.int64)
    recommend = {"serving_default": serving.signatures()["serving_default"]}  # each one traces the model
    tf.saved_model.save(serving, tmp_path / "model", signatures=recommend)
    answer = Loaded(tmp_path / "model").ask(history=histories + 100, k=K)  # 100 is no item's id
    items, scores = map(keras.ops.convert_to_numpy, trained.recommend(histories, K))
    np.testing.assert_array_equal(answer["item_ids"], items + 100)
    np.testing.assert_allclose(answer["scores"], scores, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def grown_split(cyclic, make_split):
    """The cyclic log and another user, who in training meets the new item 13, and only later 14."""
    histories = [cyclic.log.history(user).tolist() for user in range(cyclic.log.num_users)]
    return make_split([*histories, [11, 12, 13, 1, 14, 2]])


def test_growing_changes_no_score_of_a_known_item(name, trained, grown_split, histories):
    larger = grown(trained, grown_split)
    scores = scores_of(larger, histories, user_index=np.arange(6))
    assert scores.shape == (6, NUM_ITEMS + 3) and np.isfinite(scores[:, 1:]).all()
    if trained.learns():
        before = scores_of(trained, histories, user_index=np.arange(6))
        np.testing.assert_allclose(scores[:, : NUM_ITEMS + 1], before, rtol=1e-6)
        return
    counted = build(name, num_items=NUM_ITEMS + 2)
    counted.adapt(grown_split)
    np.testing.assert_array_equal(scores, scores_of(counted, histories))


def test_growing_starts_new_rows_from_their_neighbours_and_carries_the_moments(name, trained, grown_split):
    if not trained.learns():
        pytest.skip("this model only counts")
    larger = grown(trained, grown_split)
    larger.compile(keras.optimizers.Adam(0.5))
    carry_over(trained.optimizer, larger.optimizer)
    tables = 0
    for variable, known in zip(larger.variables, trained.variables, strict=True):
        rows, old = variable.numpy(), known.numpy()
        if variable.name == "item_table":
            tables += 1
            near, everything = old[[11, 12, 1]].mean(axis=0), old[1:].mean(axis=0)
            np.testing.assert_allclose(rows[NUM_ITEMS + 1 :], [near, everything], rtol=1e-5, atol=1e-7)
            rows = rows[: NUM_ITEMS + 1]
        elif variable.name == "user_table":
            np.testing.assert_allclose(rows[-1], old[1:].mean(axis=0), rtol=1e-5, atol=1e-7)
            rows = rows[:-1]
        np.testing.assert_array_equal(rows, old)
    assert tables
    for variable, known in zip(larger.optimizer.variables, trained.optimizer.variables, strict=True):
        state, old = variable.numpy(), known.numpy()
        if variable.name == "learning_rate":
            assert state in (0.0, 0.5)  # 0 is that of a pair, which has two others
            continue
        if state.shape != old.shape:
            assert not state[len(old) :].any()
            state = state[: len(old)]
        np.testing.assert_array_equal(state, old)
        assert old.any() or "pair" in variable.path


def edge_batches(model, split):
    """Of the model's own recipe: a batch whose first row is nothing but padding, and one of a single row."""
    recipe = model.training_recipe(split, max_length=MAX_LENGTH, batch_size=4)
    inputs, targets, weights = next(iter(recipe))
    all_but_first = tf.range(len(weights)) > 0

    def without_first(x):
        kept = tf.reshape(all_but_first, [-1] + [1] * (len(x.shape) - 1))
        return x * tf.cast(kept, x.dtype)

    of_items = {key: without_first(x) if key != "user_index" else x for key, x in inputs.items()}
    whole = (inputs, targets, weights)
    return {
        "an empty row": (of_items, without_first(targets), without_first(weights)),
        "one row": tf.nest.map_structure(lambda x: x[:1], whole),
        "nothing but padding": tf.nest.map_structure(tf.zeros_like, whole),
    }


@pytest.mark.parametrize("kind", ["an empty row", "one row", "nothing but padding"])
def test_a_step_on_a_batch_at_the_edge_leaves_the_model_finite(name, kind, cyclic):
    if not MODELS[name].learns():
        pytest.skip("this model only counts")
    keras.utils.set_random_seed(1)
    model = build(name)
    model.adapt(cyclic)
    model.compile(RowWiseAdam(0.01))
    logs = model.train_on(edge_batches(model, cyclic)[kind])
    assert all(np.isfinite(float(value)) for value in logs.values()), logs
    assert np.isfinite(float(model.gradient_norms.result()))
    for variable in (*model.trainable_variables, *model.optimizer.variables):
        assert np.isfinite(variable.numpy()).all(), variable.path


def test_more_padding_never_changes_a_score(trained, histories):
    newest_three = histories[2:, -3:]
    padded = np.pad(newest_three, [(0, 0), (3, 0)])
    np.testing.assert_allclose(
        scores_of(trained, padded), scores_of(trained, newest_three), rtol=1e-4, atol=1e-5
    )


def test_a_history_does_not_depend_on_its_neighbours_in_the_batch(trained, histories):
    together = scores_of(trained, histories)
    alone = np.concatenate([scores_of(trained, row[None]) for row in histories])
    np.testing.assert_allclose(together, alone, rtol=1e-4, atol=1e-5)


def test_an_empty_history_is_no_accident(trained, histories):
    scores = scores_of(trained, np.concatenate([np.zeros_like(histories[:1]), histories]))
    assert np.isfinite(scores[:, 1:]).all()
    np.testing.assert_allclose(scores[1:], scores_of(trained, histories), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_recommend_sorts_and_leaves_out_what_was_seen(trained, histories, exclude_seen):
    items, scores = map(keras.ops.convert_to_numpy, trained.recommend(histories, K, exclude_seen))
    all_scores = scores_of(trained, histories)
    for row in range(len(histories)):
        seen = set(histories[row]) if exclude_seen else set()
        allowed = [item for item in range(1, NUM_ITEMS + 1) if item not in seen]
        best = np.sort(all_scores[row, allowed])[::-1][:K]
        np.testing.assert_allclose(scores[row], best, rtol=1e-4, atol=1e-5)
        assert len(set(items[row])) == K and set(items[row]) <= set(allowed)
        np.testing.assert_allclose(all_scores[row, items[row]], scores[row], rtol=1e-4, atol=1e-5)


def test_recommend_marks_places_that_no_item_is_left_for(trained):
    everything_but_5 = np.array([[i for i in range(1, NUM_ITEMS + 1) if i != 5]], np.int32)
    items, scores = map(keras.ops.convert_to_numpy, trained.recommend(everything_but_5, K))
    assert items[0, 0] == 5 and np.isfinite(scores[0]).tolist() == [True] + [False] * (K - 1)


def test_recommend_reads_the_newest_items_of_a_long_history_and_leaves_out_all_of_it(trained, histories):
    longer = np.concatenate([np.full((6, 2), 11, np.int32), histories], axis=1)
    items, scores = map(keras.ops.convert_to_numpy, trained.recommend(longer, K))
    newest, _ = trained.recommend(histories, NUM_ITEMS, exclude_seen=False)
    for row, recommended in enumerate(items):
        expected = [i for i in keras.ops.convert_to_numpy(newest)[row] if i not in longer[row]]
        assert recommended.tolist() == expected[: len(recommended)]
    assert np.isfinite(scores).all()


@pytest.mark.parametrize(("rows", "blocks"), [(2, [2, 2, 2]), (4, [4, 2]), (6, [6])])
def test_recommend_scores_a_block_of_histories_at_a_time(trained, histories, monkeypatch, rows, blocks):
    items, scores = map(keras.ops.convert_to_numpy, trained.recommend(histories, K))
    sizes, best_items = [], trained._best_items

    def watched(item_ids, **options):
        sizes.append(len(item_ids))
        return best_items(item_ids, **options)

    monkeypatch.setattr(trained, "_best_items", watched)
    monkeypatch.setattr(pipelines, "rows_in_cache", lambda num_items: {NUM_ITEMS: rows}[num_items])
    found_items, found_scores = map(keras.ops.convert_to_numpy, trained.recommend(histories, K))
    assert sizes == blocks
    np.testing.assert_array_equal(found_items, items)
    np.testing.assert_allclose(found_scores, scores, rtol=1e-4, atol=1e-5)
    assert found_items.dtype == np.int32 and found_scores.dtype == np.float32


def test_recommend_computes_little_padding_and_answers_in_the_given_order(trained, monkeypatch):
    lengths = [30, 2, 9, 1, 16, 60]
    rows = [np.arange(length) % NUM_ITEMS + 1 for length in lengths]
    histories = np.stack([np.pad(row, (70 - len(row), 0)) for row in rows]).astype(np.int32)
    expected = [trained.recommend(row[None], K, exclude_seen=False)[1].numpy()[0] for row in rows]
    shapes, best_items = [], trained._best_items

    def watched(item_ids, **options):
        shapes.append(item_ids.shape)
        return best_items(item_ids, **options)

    monkeypatch.setattr(trained, "_best_items", watched)
    _, scores = trained.recommend(histories, K, exclude_seen=False)
    assert shapes == [
        (4, 16),
        (2, 60),
    ]  # up to 8 items all are short
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)


def test_recommend_of_no_history_is_nothing(trained, histories):
    items, scores = map(keras.ops.convert_to_numpy, trained.recommend(histories[:0], K))
    assert items.shape == scores.shape == (0, K)


def test_recommend_follows_what_the_model_learns_after_it_was_first_asked(name, trained, histories, cyclic):
    model = build(name)
    before = keras.ops.convert_to_numpy(model.recommend(histories, 3, exclude_seen=False)[1])
    model.adapt(cyclic)
    model.set_weights(trained.get_weights())
    after = keras.ops.convert_to_numpy(model.recommend(histories, 3, exclude_seen=False)[1])
    best = np.sort(scores_of(trained, histories)[:, 1:])[:, ::-1][:, :3]
    np.testing.assert_allclose(after, best, rtol=1e-4, atol=1e-5)
    assert not np.allclose(before, after, atol=1e-3)


@pytest.mark.parametrize("k", [0, NUM_ITEMS + 1])
def test_recommend_refuses_an_impossible_k(trained, histories, k):
    with pytest.raises(InputError, match=rf"^`k` should be between 1 and .* 12\. Received: `k` = {k}\.$"):
        trained.recommend(histories, k)


def test_no_two_weights_start_with_the_same_numbers(name):
    starts = [v.numpy().ravel() for v in build(name, **extra_weights(name)).trainable_variables]
    drawn = [start for start in starts if start.std() > 0]  # not a constant
    for one, other in itertools.combinations(drawn, 2):
        shared = min(len(one), len(other))
        assert not np.allclose(one[:shared], other[:shared])


def extra_weights(name):
    return {"learned_positions": True} if name in TRANSFORMERS else {}


# ---- arguments ----------------------------------------------------------------------------------

VARIATIONAL = ("meta_sgcl", "vsan", "acvae", "contrast_vae")
BAD_ARGUMENTS = [
    *((name, argument, 0, "at least 1") for name in MODELS for argument in ("num_items", "max_length")),
    *((name, argument, 0, "at least 1") for name in NEURAL for argument in ("hidden_dim", "num_negatives")),
    *((name, argument, 0, "at least 1") for name in TRANSFORMERS for argument in ("num_layers", "num_heads")),
    *((name, "hidden_dim", 15, "a multiple of num_heads = 2") for name in TRANSFORMERS),
    *(
        (name, *rest)
        for name in NEURAL
        for rest in [
            ("dropout", 1.0, "at least 0 and below 1"),
            ("dropout", -0.1, "at least 0 and below 1"),
            ("item_loss", "hinge", "one of softmax, sampled_softmax, gbce, bce, bpr_max, top1_max"),
            ("negative_sampling", "pop", "one of popularity, log_uniform, uniform"),
        ]
    ),
    *((name, "num_decoder_layers", -1, "0 or more") for name in ("meta_sgcl", "vsan", "contrast_vae")),
    *((name, "kl_weight", -0.5, "0 or more") for name in VARIATIONAL),
    *((name, "kl_warmup_steps", -1, "0 or more") for name in VARIATIONAL),
    *((name, "contrastive_weight", -1.0, "0 or more") for name in VARIATIONAL if name != "vsan"),
    *(
        (name, "temperature", value, "above 0")
        for name in ("meta_sgcl", "contrast_vae")
        for value in (0.0, float("nan"))
    ),
    ("acvae", "kernel_size", 0, "at least 1"),
    ("contrast_vae", "augmentation", "crop", "one of variational, model, data"),
    ("meta_sgcl", "similarity", "cos", "'dot' or 'cosine'"),
    ("meta_sgcl", "training", "both", "'two_step' or 'joint'"),
    ("bert4rec", "mask_prob", 0.0, "above 0 and at most 1"),
    ("bert4rec", "mask_prob", 1.5, "above 0 and at most 1"),
    ("bert4rec", "last_only_prob", -0.1, "between 0 and 1"),
    ("duorec", "contrast", "us_x", "one of cross, unsupervised, supervised, both"),
    ("duorec", "contrastive_weight", -1.0, "0 or more"),
    ("duorec", "temperature", 0.0, "above 0"),
    ("duorec", "similarity", "cos", "'dot' or 'cosine'"),
    ("gru4rec", "num_layers", 0, "at least 1"),
    *(("caser", name, 0, "at least 1") for name in ("markov_order", "num_horizontal", "num_vertical")),
    ("caser", "num_users", -1, "0 or more"),
    *(("bpr_mf", name, 0, "at least 1") for name in ("hidden_dim", "num_negatives")),
    ("bpr_mf", "num_users", -1, "0 or more"),
    ("bpr_mf", "l2_weight", -0.1, "0 or more"),
    ("item_cooccurrence", "max_distance", 0, "at least 1"),
    ("item_cooccurrence", "recent_items", 0, "at least 1"),
    ("item_cooccurrence", "distance_decay", 1.5, "between 0 and 1"),
    ("item_cooccurrence", "backward_weight", -0.1, "between 0 and 1"),
    ("item_cooccurrence", "recency_decay", 2.0, "between 0 and 1"),
]


@pytest.mark.parametrize(("model", "argument", "value", "rule"), BAD_ARGUMENTS)
def test_a_bad_argument_is_named_with_its_rule_and_value(model, argument, value, rule):
    with pytest.raises(InputError) as caught:
        build(model, **{argument: value})
    assert str(caught.value) == f"`{argument}` should be {rule}. Received: `{argument}` = {value!r}."


# ---- what one model knows -----------------------------------------------------------------------


def test_pop_ranks_by_training_counts(make_split):
    # Training parts: [3, 1], [3, 2, 1], [3]; 4 and 5 are only held out or never there.
    split = make_split([[3, 1, 4, 4], [3, 2, 1, 4, 4], [3, 4, 4]], num_items=5)
    pop = MODELS["pop"](5)
    pop.adapt(split)
    assert scores_of(pop, [[1, 2], [0, 0]]).tolist() == [[-np.inf, 2, 1, 3, 0, 0]] * 2
    items, scores = pop.recommend(np.array([[0, 3]]), 2)
    assert items.numpy().tolist() == [[1, 2]] and scores.numpy().tolist() == [[2, 1]]
