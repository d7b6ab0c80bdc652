"""Hybrid: a trained model mixed with ItemCooccurrence."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.models.base import SequentialRecommender, Tensor
from metasgcl_tf.models.item_cooccurrence import ItemCooccurrence


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class Hybrid(SequentialRecommender):
    """Scores items by `(1 - weight) * probabilities + weight * shares`.

    The probabilities are the softmax of the model's scores over the items; the shares are the co-occurrence
    scores divided by their sum, and 0 for every item where a history has no neighbours, so that the model
    alone decides there. Both are frozen: there is nothing to fit. `metasgcl_tf.mixing` chooses the weight.

    Args:
        model: a trained model.
        cooccurrence: over the same items, adapted to the same log.
        weight: of the co-occurrence, 0 (the model's ranking) to 1 (the co-occurrence's).
        **kwargs: of `keras.Model`.

    Raises:
        InputError: the two have different numbers of items, or the weight is out of range.
    """

    title = "Hybrid"
    static_shapes = False  # as of ItemCooccurrence

    def __init__(
        self,
        model: SequentialRecommender,
        cooccurrence: ItemCooccurrence,
        weight: float = 0.0,
        **kwargs: Any,
    ) -> None:
        num_items = model.num_items
        rule = f"over the model's {num_items} items"
        require(cooccurrence.num_items == num_items, "cooccurrence", rule, cooccurrence.num_items)
        require(0 <= weight <= 1, "weight", "between 0 and 1", weight)
        super().__init__(num_items, max(model.max_length, cooccurrence.max_length), **kwargs)
        self.config = {"weight": weight}
        self.model, self.cooccurrence, self.weight = model, cooccurrence, weight
        self.trainable = False
        self.create_variables()

    def adapt(self, split: Split) -> None:
        """Counts the co-occurrences anew."""
        self.cooccurrence.adapt(split)
        self.forget_compiled()

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """`probabilities` and `shares`, both `[B, V]`: of the items 1..V, without a column for padding."""
        model_scores, scores = (
            part.score_items(inputs | {"item_ids": inputs["item_ids"][:, -part.max_length :]})[:, 1:]
            for part in (self.model, self.cooccurrence)
        )
        total = ops.sum(scores, axis=1, keepdims=True)
        shares = scores / ops.where(total > 0, total, 1.0)
        return {"probabilities": ops.softmax(model_scores), "shares": shares}

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """See the base class."""
        return mixed(**self(inputs), weight=self.weight)

    def train_on(self, data: Any) -> dict[str, Tensor]:
        """Refuses to be trained."""
        raise InputError("A hybrid has nothing to fit: train its model, then mix.")

    def get_config(self) -> dict[str, Any]:
        """Both models and the weight; without the optimizer that the model was trained with."""
        parts = {}
        for name in ("model", "cooccurrence"):
            parts[name] = keras.saving.serialize_keras_object(getattr(self, name))
            parts[name].pop("compile_config", None)
        return super().get_config() | parts

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> "Hybrid":
        """Both models as they were made; their weights follow when a file is loaded."""
        names = ("model", "cooccurrence")
        parts = {name: keras.saving.deserialize_keras_object(config[name], custom_objects) for name in names}
        return cls(**(config | parts))


def mixed(probabilities: Tensor, shares: Tensor, weight: Tensor | float) -> Tensor:
    """What a hybrid scores: `[B, V]` twice to `[B, V + 1]` float32, column 0 (padding) -inf."""
    weight = ops.cast(weight, "float32")
    scores = (1.0 - weight) * probabilities + weight * shares
    return ops.pad(scores, [[0, 0], [1, 0]], constant_values=float("-inf"))
