"""What an exported model answers in the log's own ids, as TensorFlow functions."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from metasgcl_tf.layers.embedding import catalogue_scores
from metasgcl_tf.models.base import SequentialRecommender, without_items
from metasgcl_tf.models.neural import NeuralRecommender
from metasgcl_tf.models.variational import VariationalTransformer
from metasgcl_tf.serving.core import keep_variables

Tensor = Any
MOST_SAMPLES = 1000
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
        keep_variables(self, model)
        self.vectors_of = self.draws_of = None
        score = model.score_items
        if isinstance(model, NeuralRecommender):
            self.vectors_of, self.item_vectors = once(model.user_vectors), model.item_vectors

            def score(inputs: dict[str, Tensor]) -> Tensor:
                return catalogue_scores(self.vectors_of(inputs["item_ids"]), self.item_vectors())

        if isinstance(model, VariationalTransformer):
            self.draws_of = model.drawn_vectors
        self.scores_of = once(score)
        self.popularity = tf.Variable(np.append(np.float32(-np.inf), popularity[1:]), trainable=False)
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
        history = tf.TensorSpec([None, None], self.id_dtype, "history")
        candidates = tf.TensorSpec([None, None], self.id_dtype, "candidates")

        @tf.function(input_signature=[history, candidates])
        def score_items(history: Tensor, candidates: Tensor) -> dict[str, Tensor]:
            return self.score_items(history, candidates)

        @tf.function(input_signature=[history])
        def embed(history: Tensor) -> dict[str, Tensor]:
            return {"vectors": self.vectors_of(self.dense(history))}

        endpoints = {"serving_default": self._default_endpoint(history), "score_items": score_items}
        return endpoints | ({"embed": embed} if self.vectors_of else {})

    def _default_endpoint(self, history: tf.TensorSpec) -> Any:
        nothing = tf.zeros([0], self.id_dtype)
        inputs = [
            history,
            tf.TensorSpec([], tf.int32, "k"),
            tf.TensorSpec([], tf.bool, "exclude_seen"),
            tf.TensorSpec([None], self.id_dtype, "allow"),
            tf.TensorSpec([None], self.id_dtype, "deny"),
            tf.TensorSpec([], tf.int32, "samples"),
        ]

        @tf.function(input_signature=inputs)
        def recommend(
            history: Tensor,
            k: Tensor = tf.constant(10),  # noqa: B008
            exclude_seen: Tensor = tf.constant(True),  # noqa: B008
            allow: Tensor = nothing,
            deny: Tensor = nothing,
            samples: Tensor = tf.constant(0),  # noqa: B008
        ) -> dict[str, Tensor]:
            return self.recommend(history, k, exclude_seen, allow, deny, samples)

        return recommend

    def recommend(
        self,
        history: Tensor,
        k: Tensor,
        exclude_seen: Tensor,
        allow: Tensor,
        deny: Tensor,
        samples: Tensor,
    ) -> dict[str, Tensor]:
        """The best next items.

        Args:
            history: `[B, N]` raw ids.
            k: how many, 1..V.
            exclude_seen: leave out the items of the history.
            allow: `[A]` raw ids to choose from; none is all.
            deny: `[D]` raw ids to leave out.
            samples: of a model with a Gaussian latent, how many z to draw from the posterior,
                `mean + sigma * eps` with new eps in every request; 0, all that others allow, takes the mean.

        Returns:
            `item_ids` `[B, k]` and `scores` `[B, k]`, best first; where fewer items were left, the score is
            -inf and the id the empty text, or the lowest 64-bit number. With samples, scores are means over
            the draws, and `spreads` `[B, k]` their standard deviations.
        """
        k = in_range("k", k, 1, self.num_items)
        samples = in_range("samples", samples, 0, MOST_SAMPLES if self.draws_of else 0)
        item_ids = self.dense(history)
        if self.draws_of is None:
            scores = self.scores_of(item_ids)
        else:
            draws = self.draws(item_ids, samples)
            scores = catalogue_scores(tf.reduce_mean(draws, axis=0), self.item_vectors())
        scores = self.or_popularity(item_ids, scores)
        wanted = tf.logical_or(self._in_list(allow), tf.equal(tf.size(allow), 0))
        wanted = tf.logical_and(wanted, tf.logical_not(self._in_list(deny)))
        chosen = tf.where(wanted[None], scores, -np.inf)
        chosen = without_items(chosen, tf.where(exclude_seen, item_ids, 0))
        best_scores, best = tf.math.top_k(chosen, k)
        found = tf.math.is_finite(best_scores)
        spreads = tf.zeros_like(best_scores)
        if self.draws_of is not None:
            spreads = self.spreads(draws, best, tf.logical_and(found, known(item_ids)))
        return {"item_ids": self.raw(best, found), "scores": best_scores, "spreads": spreads}

    def draws(self, item_ids: Tensor, samples: Tensor) -> Tensor:
        """`[S, B, D]` user vectors of that many draws; of 0, the one without noise."""
        drawn = tf.cond(
            samples > 0,
            lambda: self.draws_of({"item_ids": item_ids}, samples),
            lambda: self.vectors_of(item_ids)[None],
        )
        return tf.cast(drawn, tf.float32)

    def spreads(self, draws: Tensor, items: Tensor, found: Tensor) -> Tensor:
        """`[B, k]` standard deviations of the items' scores over the draws, 0 where there is no score."""
        vectors = tf.cast(tf.gather(self.item_vectors(), items), tf.float32)
        spreads = tf.math.reduce_std(tf.einsum("sbd,bkd->sbk", draws, vectors), axis=0)
        return tf.where(found, spreads, 0.0)

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
        scores = self.or_popularity(item_ids, self.scores_of(item_ids))
        scores = tf.gather(scores, self.indices(candidates), batch_dims=1)
        scores, order = tf.math.top_k(scores, shape[1])
        return {"item_ids": tf.gather(candidates, order, batch_dims=1), "scores": scores}

    def or_popularity(self, item_ids: Tensor, scores: Tensor) -> Tensor:
        """`[B, V + 1]` scores, but of histories of nothing the popularity."""
        return tf.where(known(item_ids), scores, self.popularity[None])

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


def once(function: Callable[[dict[str, Tensor]], Tensor]) -> Callable[[Tensor], Tensor]:
    """A method of a model as a function of `[B, N]` dense ids, one in the graph of all endpoints."""

    @tf.function(input_signature=[tf.TensorSpec([None, None], tf.int32)])
    def shared(item_ids: Tensor) -> Tensor:
        return function({"item_ids": item_ids})

    return shared


def known(item_ids: Tensor) -> Tensor:
    """`[B, 1]` bool, whether a row of dense ids holds any item."""
    return tf.reduce_any(item_ids > 0, axis=1, keepdims=True)


def in_range(name: str, value: Tensor, lowest: int, highest: int) -> Tensor:
    """The value; fails the request, and names the input, before anything uses one that is out of range."""
    rule = f"`{name}` should be between {lowest} and {highest}. Received: `{name}` ="
    holds = tf.logical_and(value >= lowest, value <= highest)
    with tf.control_dependencies([tf.debugging.Assert(holds, [rule, value])]):
        return tf.identity(value)
