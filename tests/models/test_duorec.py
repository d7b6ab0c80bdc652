"""The two losses of DuoRec by hand, and whom it contrasts."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from metasgcl_tf.errors import InputError
from metasgcl_tf.models import DuoRec, SASRec
from metasgcl_tf.optimizers import RowWiseAdam

NUM_ITEMS, LENGTH, DIM = 7, 4, 4
X = np.array([[0, 0, 1, 2], [0, 3, 4, 5], [2, 4, 6, 7]], np.int32)
ALIKE = np.array([[0, 0, 0, 7], [1, 2, 3, 4], [0, 6, 1, 5]], np.int32)
Y = np.array([[3], [3], [6]], np.int32)
INPUTS = {"item_ids": X, "same_target_ids": ALIKE}
CONTRASTS = ["cross", "unsupervised", "supervised", "both"]
every_contrast = pytest.mark.parametrize("contrast", CONTRASTS)


def build(model=DuoRec, **options):
    """Weights as after some training: at the start all states are nearly the same."""
    keras.utils.set_random_seed(0)
    sizes = {"hidden_dim": DIM, "num_layers": 2, "num_heads": 2, "dropout": 0.0}
    built = model(NUM_ITEMS, LENGTH, **(sizes | options))
    rng = np.random.default_rng(0)
    for v in built.trainable_variables:
        v.assign(v + rng.normal(scale=0.3, size=v.shape))
    return built


def loss_of(model, weights=None):
    outputs = model.training_outputs(INPUTS, tf.constant(Y))
    return float(model.compute_loss(INPUTS, Y, outputs, weights))


def newest_states(model, item_ids):
    return model({"item_ids": item_ids})["states"].numpy()[:, -1].astype(np.float64)


def info_nce_loop(view, other_view, temperature=1.0, similarity="dot"):
    """Every anchor against its positive and both views of every other sample."""
    both = np.concatenate([view, other_view])
    if similarity == "cosine":
        both /= np.linalg.norm(both, axis=-1, keepdims=True)
    size, terms = len(view), []
    for anchor in range(2 * size):
        others = [n for n in range(2 * size) if n % size != anchor % size]
        logits = both[[(anchor + size) % (2 * size), *others]] @ both[anchor] / temperature
        terms.append(np.log(np.exp(logits).sum()) - logits[0])
    return np.mean(terms)


@every_contrast
@pytest.mark.parametrize("options", [{}, {"temperature": 0.5, "similarity": "cosine"}], ids=["dot", "cosine"])
def test_the_loss_is_that_of_sasrec_and_a_share_of_the_contrast(contrast, options):
    model = build(contrast=contrast, contrastive_weight=0.25, **options)
    weights = np.array([[1.0], [0.5], [2.0]], np.float32)
    sasrec = build(SASRec)
    next_item = float(sasrec.compute_loss(INPUTS, Y, sasrec({"item_ids": X}, training=True), weights))
    own, alike = newest_states(model, X), newest_states(model, ALIKE)
    # Without dropout the second pass is the first again.
    pairs = {"unsupervised": [own], "supervised": [alike], "cross": [alike], "both": [own, alike]}
    expected = sum(info_nce_loop(own, other, **options) for other in pairs[contrast])
    assert loss_of(model, weights) == pytest.approx(next_item + 0.25 * expected, rel=1e-5)
    logged = {name: float(metric.result()) for name, metric in model.loss_metrics.items()}
    assert logged["next_item_loss"] == pytest.approx(next_item, rel=1e-5)
    assert logged["contrastive_loss"] == pytest.approx(expected, rel=1e-5)
    assert logged["loss"] == pytest.approx(next_item + 0.25 * expected, rel=1e-5)


@every_contrast
def test_without_weight_the_contrast_changes_nothing(contrast):
    def gradients(model):
        with tf.GradientTape() as tape:
            loss = model.compute_loss(INPUTS, Y, model.training_outputs(INPUTS, tf.constant(Y)))
        values = [v.value for v in model.trainable_variables]
        return [loss, *map(tf.convert_to_tensor, tape.gradient(loss, values))]

    plain = gradients(build(SASRec))
    without = gradients(build(contrast=contrast, contrastive_weight=0.0))
    for found, expected in zip(without, plain, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


@every_contrast
def test_gradients_of_the_contrast_reach_all_of_the_encoder(contrast):
    model = build(contrast=contrast, dropout=0.2)
    with tf.GradientTape() as tape:
        outputs = model.training_outputs(INPUTS, tf.constant(Y))
        loss = model.compute_loss(INPUTS, np.zeros_like(Y), outputs)  # no target: the contrast alone
    found = tape.gradient(loss, [v.value for v in model.trainable_variables])
    for v, gradient in zip(model.trainable_variables, found, strict=True):
        assert np.abs(tf.convert_to_tensor(gradient)).max() > 1e-5, v.path


@pytest.mark.parametrize(
    ("contrast", "compared", "passes"),
    [
        ("cross", {"dropout_states", "same_target_states"}, [2, 1]),
        ("unsupervised", {"dropout_states"}, [2]),
        ("supervised", {"same_target_states"}, [1, 1]),
        ("both", {"dropout_states", "same_target_states"}, [2, 1]),
    ],
)
def test_it_encodes_what_is_compared_and_no_more(contrast, compared, passes, monkeypatch):
    sizes, call = [], SASRec.call

    def watched(self, inputs, **options):
        sizes.append(inputs["item_ids"].shape)
        return call(self, inputs, **options)

    model = build(contrast=contrast, dropout=0.5)
    monkeypatch.setattr(SASRec, "call", watched)
    outputs = model.training_outputs(INPUTS, tf.constant(Y))
    assert sizes == [(times * len(X), LENGTH) for times in passes]
    assert set(outputs) == compared | {"states"}
    assert {states.shape for states in outputs.values()} == {(len(X), 1, DIM)}
    if "dropout_states" in outputs:  # the same sequences, another dropout
        assert (np.abs(outputs["states"] - outputs["dropout_states"]).max(axis=-1) > 1e-2).all()


def test_training_needs_sequences_with_the_same_next_item():
    with pytest.raises(InputError, match=r"^`same_target_ids` should be in every training batch"):
        build().training_outputs({"item_ids": X}, Y)


def test_the_contrast_pulls_sequences_with_the_same_next_item_together():
    # 1 and 2 are followed by 5, 3 and 4 by 6; only the contrast learns.
    sequences, targets = np.array([[1], [2], [3], [4]], np.int32), np.zeros((4, 1), np.int32)
    inputs = {"item_ids": sequences, "same_target_ids": sequences[[1, 0, 3, 2]]}
    model = build(contrastive_weight=1.0, similarity="cosine")
    model.compile(RowWiseAdam(0.01))
    for _ in range(50):
        model.train_on_batch(inputs, targets)
    states = newest_states(model, sequences)
    states /= np.linalg.norm(states, axis=-1, keepdims=True)
    cosine = states @ states.T
    assert min(cosine[0, 1], cosine[2, 3]) > cosine[:2, 2:].max() + 0.5
