"""What a new model gets from the base class by writing only `call`, `compute_loss` and `score_items`."""

import keras
import numpy as np
import pytest
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.errors import InputError
from metasgcl_tf.layers.embedding import ItemEmbedding
from metasgcl_tf.models import MetaSGCL, Pop, SequentialRecommender


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


@pytest.mark.parametrize("argument", [{"loss": "mse"}, {"metrics": ["mse"]}, {"weighted_metrics": ["mse"]}])
def test_a_loss_or_metrics_of_the_callers_are_refused_not_ignored(argument):
    (name,) = argument
    with pytest.raises(InputError, match=f"`{name}` should be left out"):
        Pop(5).compile(**argument)


def test_two_step_training_refuses_a_loss_scaler_that_it_would_bypass():
    with pytest.raises(InputError, match=r"`dtype_policy` should be mixed_bfloat16 .* 'mixed_float16'"):
        MetaSGCL(5, hidden_dim=8, dtype="mixed_float16").compile()
