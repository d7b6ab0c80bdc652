"""What an exported model answers: TensorFlow functions of raw or dense ids."""

from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from metasgcl_tf.errors import require, require_known
from metasgcl_tf.models.base import SequentialRecommender, without_items
from metasgcl_tf.models.neural import NeuralRecommender

Tensor = Any
PADDING = {tf.string: b"", tf.int64: np.iinfo(np.int64).min}  # no item has this id


class Serving(tf.Module):
    """Answers in the log's own ids.

    Histories are rows of raw ids, oldest first. Ids that the log does not have are skipped, so a short row is
    filled up with any of them: the empty text, or -1. A history of nothing known is answered with the most
    popular items.

    Args:
        model: a trained model.
        vocabulary: path of a text file with a raw id a line, that of item 1 first.
        popularity: `[V + 1]` float32, the scores of a history of nothing known.
        id_dtype: `tf.string` or `tf.int64`.
    """

    def __init__(
        self, model: SequentialRecommender, vocabulary: str, popularity: np.ndarray, id_dtype: tf.DType
    ) -> None:
        super().__init__()
        self.num_items, self.id_dtype = model.num_items, id_dtype
        keep(self, model)
        self.popularity = tf.Variable(popularity, trainable=False)
        self.file = tf.saved_model.Asset(vocabulary)
        line, column = tf.lookup.TextFileIndex.LINE_NUMBER, tf.lookup.TextFileIndex.WHOLE_LINE
        if id_dtype == tf.int64:
            column = 0  # a number of its own; whole lines are text
        dense, raw = (tf.int64, line), (id_dtype, column)
        self.index_of = self._table(raw, dense, -1)
        self.id_of = self._table(dense, raw, PADDING[id_dtype])

    def _table(self, keys: tuple, values: tuple, default: Any) -> tf.lookup.StaticHashTable:
        file = tf.lookup.TextFileInitializer(self.file, *keys, *values, delimiter="\n")
        return tf.lookup.StaticHashTable(file, tf.constant(default, values[0]))

    def signatures(self) -> dict[str, Any]:
        """The endpoints; inputs with a default may be left out of a request."""
        rows, ids = tf.TensorSpec([None, None], self.id_dtype), tf.TensorSpec([None], self.id_dtype)
        nothing = tf.zeros([0], self.id_dtype)

        def spec(like: tf.TensorSpec, name: str) -> tf.TensorSpec:
            return tf.TensorSpec(like.shape, like.dtype, name)

        @tf.function(
            input_signature=[
                spec(rows, "history"),
                tf.TensorSpec([], tf.int32, "k"),
                tf.TensorSpec([], tf.bool, "exclude_seen"),
                spec(ids, "allow"),
                spec(ids, "deny"),
            ]
        )
        def recommend(
            history: Tensor,
            k: Tensor = tf.constant(10),  # noqa: B008
            exclude_seen: Tensor = tf.constant(True),  # noqa: B008
            allow: Tensor = nothing,
            deny: Tensor = nothing,
        ) -> dict[str, Tensor]:
            return self.recommend(history, k, exclude_seen, allow, deny)

        @tf.function(input_signature=[spec(rows, "history"), spec(rows, "candidates")])
        def score_items(history: Tensor, candidates: Tensor) -> dict[str, Tensor]:
            return self.score_items(history, candidates)

        @tf.function(input_signature=[spec(rows, "history")])
        def embed(history: Tensor) -> dict[str, Tensor]:
            return {"vectors": self.vectors_of({"item_ids": self.dense(history)})}

        endpoints = {"serving_default": recommend, "score_items": score_items}
        return endpoints | ({"embed": embed} if self.vectors_of else {})

    def recommend(
        self, history: Tensor, k: Tensor, exclude_seen: Tensor, allow: Tensor, deny: Tensor
    ) -> dict[str, Tensor]:
        """The best next items.

        Args:
            history: `[B, N]` raw ids.
            k: how many, 1..V.
            exclude_seen: leave out the items of the history.
            allow: `[A]` raw ids to choose from; none is all.
            deny: `[D]` raw ids to leave out.

        Returns:
            `item_ids` `[B, k]` and `scores` `[B, k]`, best first; where fewer items were left, the score is
            -inf and the id the empty text, or the lowest 64-bit number.
        """
        in_range = tf.logical_and(k >= 1, k <= self.num_items)
        tf.debugging.Assert(in_range, [f"`k` should be between 1 and {self.num_items}. Received: `k` =", k])
        item_ids = self.dense(history)
        scores = self.scores(item_ids)
        wanted = tf.logical_or(self._in_list(allow), tf.equal(tf.size(allow), 0))
        wanted = tf.logical_and(wanted, tf.logical_not(self._in_list(deny)))
        scores = tf.where(wanted[None], scores, -np.inf)
        scores = without_items(scores, tf.where(exclude_seen, item_ids, 0))
        best_scores, best = tf.math.top_k(scores, k)
        return {"item_ids": self.raw(best, tf.math.is_finite(best_scores)), "scores": best_scores}

    def score_items(self, history: Tensor, candidates: Tensor) -> dict[str, Tensor]:
        """Candidates in the order of their scores.

        Args:
            history: `[B, N]` raw ids.
            candidates: `[B, C]` raw ids, or `[1, C]` for all histories.

        Returns:
            `item_ids` `[B, C]` and `scores` `[B, C]`, best first; ids that the log does not have come last,
            with -inf.
        """
        item_ids = self.dense(history)
        shape = [tf.shape(item_ids)[0], tf.shape(candidates)[1]]
        candidates = tf.broadcast_to(candidates, shape)
        scores = tf.gather(self.scores(item_ids), self.indices(candidates), batch_dims=1)
        scores, order = tf.math.top_k(scores, shape[1])
        return {"item_ids": tf.gather(candidates, order, batch_dims=1), "scores": scores}

    def scores(self, item_ids: Tensor) -> Tensor:
        """`[B, N]` dense ids to `[B, V + 1]`; of histories of nothing the popularity."""
        known = tf.reduce_any(item_ids > 0, axis=1, keepdims=True)
        popularity = tf.concat([[-np.inf], self.popularity[1:]], axis=0)
        return tf.where(known, self.scores_of({"item_ids": item_ids}), popularity[None])

    def dense(self, history: Tensor) -> Tensor:
        """`[B, N]` raw ids to `[B, N + 1]` dense ones, left padded with 0; unknown ids are skipped."""
        indices = self.indices(history)
        known_last = tf.argsort(tf.cast(indices > 0, tf.int32), axis=1, stable=True)
        return tf.pad(tf.gather(indices, known_last, batch_dims=1), [[0, 0], [1, 0]])

    def indices(self, raw: Tensor) -> Tensor:
        """Raw ids to dense ones, 0 where the log does not have them."""
        return tf.cast(self.index_of.lookup(raw) + 1, tf.int32)

    def raw(self, item_ids: Tensor, found: Tensor) -> Tensor:
        """Dense ids to raw ones where `found`."""
        return self.id_of.lookup(tf.where(found, tf.cast(item_ids, tf.int64) - 1, -1))

    def _in_list(self, raw: Tensor) -> Tensor:
        """`[V + 1]` bool, the items of a list of raw ids."""
        places = self.indices(raw)[:, None]
        shape = [self.num_items + 1]
        return tf.scatter_nd(places, tf.ones_like(places[:, 0]), shape) > 0


class Core(tf.Module):
    """Answers dense ids with dense ids: nothing but tensors, for runtimes without tables and text.

    Args:
        model: a trained model.
        k: how many items to answer with.
    """

    def __init__(self, model: SequentialRecommender, k: int) -> None:
        super().__init__()
        self.max_length, self.k = model.max_length, k
        keep(self, model)

    def signatures(self) -> dict[str, Any]:
        """The endpoint: `item_ids` `[B, L]` int32, left padded with 0, to `item_ids` and `scores` `[B, k]`.

        Items of the history are left out.
        """

        @tf.function(input_signature=[tf.TensorSpec([None, self.max_length], tf.int32, "item_ids")])
        def recommend(item_ids: Tensor) -> dict[str, Tensor]:
            best, scores = self.best_of(item_ids, k=self.k, exclude_seen=True)
            return {"item_ids": best, "scores": scores}

        return {"serving_default": recommend}


class Loaded:
    """An exported model in this process, asked as a server would: by signature, defaults filled in.

    Args:
        folder: of the SavedModel, such as `NAME/1` or `NAME/1/core`.
    """

    def __init__(self, folder: str | Path) -> None:
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            model = tf.compat.v1.saved_model.load(self.session, ["serve"], str(folder))
        self.signatures = dict(model.signature_def)

    def ask(self, endpoint: str = "serving_default", **inputs: Any) -> dict[str, np.ndarray]:
        """The outputs of an endpoint.

        Raises:
            InputError: no such endpoint or input, or an input of another type.
        """
        require_known("endpoint", endpoint, self.signatures)
        signature, feeds = self.signatures[endpoint], {}
        for name, value in inputs.items():
            require_known("inputs", name, signature.inputs)
            wanted = tf.as_dtype(signature.inputs[name].dtype)
            array = np.asarray(value, object if wanted == tf.string else None)
            if wanted == tf.string:
                strangers = [each for each in array.flat if not isinstance(each, str | bytes)]
                require(not strangers, name, "text", strangers[:1])
            else:
                fits = np.can_cast(array.dtype, wanted.as_numpy_dtype, "same_kind")
                require(fits, name, f"of type {wanted.name}", array.dtype.name)
                array = array.astype(wanted.as_numpy_dtype)
            feeds[signature.inputs[name].name] = array
        return self.session.run({name: each.name for name, each in signature.outputs.items()}, feeds)


def keep(module: tf.Module, model: SequentialRecommender) -> None:
    """Gives a module what it needs of a model: variables and methods; TensorFlow would export all of it."""
    module.model_variables = [variable.value for variable in model.variables]
    module.scores_of, module.best_of = model.score_items, model.best_items
    module.vectors_of = model.user_vectors if isinstance(model, NeuralRecommender) else None
