"""What a new model gets from the base class by writing only `call`, `compute_loss` and `score_items`."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.errors import InputError
from metasgcl_tf.layers.embedding import ItemEmbedding
from metasgcl_tf.models import ItemCooccurrence, MetaSGCL, Pop, SequentialRecommender


class LastItem(SequentialRecommender):
    """Predicts from the embedding of each item alone."""

    def __init__(self, num_items, max_length=4):
        super().__init__(num_items, max_length)
        self.embedding = ItemEmbedding(num_items, 8, max_length)
        self.create_variables()

    def call(self, inputs, training=False):
        return {"states": self.embedding(inputs["item_ids"], training=training)}

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        weights = ops.full(ops.shape(y), 1 / 8)  # the mean over 2 rows of 4
        loss, _ = losses.softmax_cross_entropy(y_pred["states"], self.embedding.table, y, weights)
        self.report(loss=loss)
        return loss

    def score_items(self, inputs):
        return self.embedding.score(self(inputs)["states"][:, -1])


def test_fit_logs_the_loss_of_a_model_with_one_update_and_it_learns():
    item_ids = np.array([[1, 2, 3, 4], [2, 3, 4, 5]], np.int32)
    model = LastItem(5)
    model.compile(keras.optimizers.Adam(0.05))
    history = model.fit({"item_ids": item_ids}, item_ids % 5 + 1, epochs=60, verbose=0).history
    assert set(history) == {"loss"}
    assert history["loss"][0] == pytest.approx(np.log(5), abs=0.2)
    assert history["loss"][-1] < 0.1
    assert ops.convert_to_numpy(model.recommend(item_ids[:, :2], k=1)[0]).tolist() == [[3], [4]]


def test_windows_longer_than_the_model_are_refused():
    model = LastItem(5, max_length=4)
    model.compile()
    rule = "max_length of the data should be at most that of the model, 4"
    windows = np.ones((1, 5), np.int32)
    with pytest.raises(InputError, match=rule):
        model.train_on_batch({"item_ids": windows}, windows)
    unknown = tf.TensorSpec((None, None), "int32")  # as the recipes have it
    data = tf.data.Dataset.from_generator(
        lambda: [({"item_ids": windows}, windows)], output_signature=({"item_ids": unknown}, unknown)
    )
    with pytest.raises(tf.errors.InvalidArgumentError, match=rule):
        model.fit(data, verbose=0)


@pytest.mark.parametrize("item_ids", [[[1, 6]], [[1, -1]], [1, 2], [[], []]])
def test_recommend_refuses_what_are_no_sequences_of_items(item_ids):
    with pytest.raises(InputError, match=r"^`item_ids` should be "):
        Pop(5).recommend(item_ids, k=1)


def test_counts_are_not_rounded_in_half_precision(make_split):
    split = make_split([[*[1] * 258, *[2] * 257, 3, 4]])
    half = {"dtype": "mixed_bfloat16"}
    models = Pop(4, **half), ItemCooccurrence(4, history_power=0.0, target_power=0.0, **half)
    for model in models:
        model.adapt(split)
        assert model.recommend([[3, 4]], k=2)[0].numpy().tolist() == [[1, 2]]
    counts = models[0].score_items({"item_ids": np.ones((1, 1), np.int32)})[0, 1:3]
    assert counts.numpy().tolist() == [258, 257]


@pytest.mark.parametrize("argument", [{"loss": "mse"}, {"metrics": ["mse"]}, {"weighted_metrics": ["mse"]}])
def test_a_loss_or_metrics_of_the_callers_are_refused_not_ignored(argument):
    (name,) = argument
    with pytest.raises(InputError, match=f"`{name}` should be left out"):
        Pop(5).compile(**argument)


def test_two_step_training_refuses_a_loss_scaler_that_it_would_bypass():
    with pytest.raises(InputError, match=r"`dtype_policy` should be mixed_bfloat16 .* 'mixed_float16'"):
        MetaSGCL(5, hidden_dim=8, dtype="mixed_float16").compile()
