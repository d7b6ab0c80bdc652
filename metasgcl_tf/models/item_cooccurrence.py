"""ItemCooccurrence: counting which items stand near each other, the floor for every neural model."""

from typing import Any

import keras
import numpy as np
from keras import ops

from metasgcl_tf.data.cooccurrence import pair_counts
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require
from metasgcl_tf.models.base import SequentialRecommender, Tensor, arguments_of


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class ItemCooccurrence(SequentialRecommender):
    """Training-free: recommends what stood near the newest items in other histories.

    For a before b at distance d <= `max_distance`, `C[a, b] += distance_decay^(d - 1)` and
    `C[b, a] += backward_weight * distance_decay^(d - 1)`. An item j scores the sum over the newest
    `recent_items` h_0 (newest), h_1, ... of

        recency_decay^k C[h_k, j] / ((n(h_k) + 1)^history_power (n(j) + 1)^target_power)

    with n the training count of an item. Learned by `adapt`; there is nothing to fit.

    Args:
        num_items: V.
        max_length: L; at most `max_length` items of the history are looked at.
        max_distance: farthest pair that counts.
        distance_decay: weight lost with each step of distance.
        backward_weight: weight of the earlier item as successor of the later one; 0 = forward only.
        recent_items: newest items of the history that vote.
        recency_decay: weight lost with each step back in the history.
        history_power: how much frequent items of the history are discounted.
        target_power: how much frequent candidates are discounted.
        **kwargs: of `keras.Model`.
    """

    title = "ItemCooccurrence"
    static_shapes = False  # how many entries a batch gathers depends on its items

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        max_distance: int = 50,
        distance_decay: float = 0.9,
        backward_weight: float = 0.9,
        recent_items: int = 20,
        recency_decay: float = 0.7,
        history_power: float = 0.25,
        target_power: float = 0.1,
        **kwargs: Any,
    ) -> None:
        config = arguments_of(locals())
        self.check_arguments(**config)
        super().__init__(num_items, max_length, **kwargs)
        self.config = config
        # C in compressed rows: the neighbours of item a are columns[row_begin[a] : row_begin[a + 1]].
        nothing = np.zeros(0, np.float32)
        self._set_table(np.zeros(num_items + 2, np.int32), nothing.astype(np.int32), nothing)
        self.item_counts = self.add_weight(
            name="item_counts", shape=(num_items + 1,), initializer="zeros", trainable=False, autocast=False
        )
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        SequentialRecommender.check_arguments(**arguments)
        for name in ("max_distance", "recent_items"):
            require(arguments[name] >= 1, name, "at least 1", arguments[name])
        for name in ("distance_decay", "backward_weight", "recency_decay"):
            require(0 <= arguments[name] <= 1, name, "between 0 and 1", arguments[name])

    def _set_table(self, row_begin: np.ndarray, columns: np.ndarray, values: np.ndarray) -> None:
        self.row_begin = ops.convert_to_tensor(row_begin, "int32")
        self.columns = ops.convert_to_tensor(columns, "int32")
        self.values = ops.convert_to_tensor(values, "float32")
        self.forget_compiled()

    def adapt(self, split: Split) -> None:
        """Counts the pairs of the training part."""
        self.item_counts.assign(split.item_counts().astype(np.float32))
        counted = {key: self.config[key] for key in ("max_distance", "distance_decay", "backward_weight")}
        rows, columns, weights = pair_counts(split, **counted)
        self._set_table(np.searchsorted(rows, np.arange(self.num_items + 2)), columns, weights)

    def call(self, inputs: dict[str, Tensor], training: bool = False) -> dict[str, Tensor]:
        """`scores` `[B, V + 1]`."""
        looked_at = min(self.config["recent_items"], self.max_length)
        recent = ops.cast(inputs["item_ids"], "int32")[:, -looked_at:]
        batch_size, count = ops.shape(recent)[0], ops.shape(recent)[1]
        steps_back = ops.cast(ops.arange(count - 1, -1, -1), "float32")
        popularity = ops.power(self.item_counts + 1.0, self.config["history_power"])
        votes = self.config["recency_decay"] ** steps_back / ops.take(popularity, recent)
        recent, votes = ops.reshape(recent, (-1,)), ops.reshape(votes, (-1,))
        # Every entry of the voters' rows of C, one after another. Padding (row 0) has none.
        begin = ops.take(self.row_begin, recent)
        row_lengths = ops.take(self.row_begin, recent + 1) - begin
        voter = ops.repeat(ops.arange(batch_size * count), row_lengths)
        within_row = ops.arange(ops.shape(voter)[0]) - ops.take(ops.cumsum(row_lengths) - row_lengths, voter)
        entry = ops.take(begin, voter) + within_row
        width = self.num_items + 1
        cells = voter // count * width + ops.take(self.columns, entry)
        contributions = ops.take(self.values, entry) * ops.take(votes, voter)
        summed = ops.segment_sum(contributions, cells, num_segments=batch_size * width)
        scores = ops.reshape(summed, (batch_size, width))
        scores = scores / ops.power(self.item_counts + 1.0, self.config["target_power"])
        return {"scores": ops.pad(scores[:, 1:], [[0, 0], [1, 0]], constant_values=float("-inf"))}

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """See the base class."""
        return self(inputs)["scores"]

    def save_own_variables(self, store: dict[str, Any]) -> None:
        """Saves the table, whose size depends on the log."""
        super().save_own_variables(store)
        for name in ("row_begin", "columns", "values"):
            store[name] = ops.convert_to_numpy(getattr(self, name))

    def load_own_variables(self, store: dict[str, Any]) -> None:
        """Restores what `save_own_variables` wrote."""
        table = {name: np.asarray(store[name]) for name in ("row_begin", "columns", "values")}
        super().load_own_variables({name: store[name] for name in store.keys() - table.keys()})
        row_begin, columns = table["row_begin"], table["columns"]
        rows = row_begin.shape == (self.num_items + 2,) and (row_begin[1:] >= row_begin[:-1]).all()
        rows = rows and row_begin[0] == 0 and row_begin[-1] == len(columns) == len(table["values"])
        if not rows or not ((columns >= 1) & (columns <= self.num_items)).all():
            raise ValueError("the table of co-occurrences points outside of itself")
        self._set_table(**table)
