"""What every sequential recommender shares: full-ranking evaluation, scores and recommendations."""

from collections.abc import Callable
from typing import Any, ClassVar

import keras
import numpy as np
from keras import ops

from metasgcl_tf import backend, metrics
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require
from metasgcl_tf.layers.embedding import with_score

Tensor = Any


class SequentialRecommender(keras.Model):
    """Base class: a model that scores every item as the next of a sequence.

    A subclass implements `call(inputs, training) -> dict of tensors` with the same keys in both modes,
    `compute_loss` and `score_items`. It names its data recipe as `training_recipe`, and in `loss_names` the
    values that `compute_loss` hands to `report`: those that `fit` logs. `fit`, `evaluate`, early stopping,
    checkpoints and tuners then share one full-ranking path: `evaluate` reports `hr@k`, `ndcg@k` and `mrr`
    with seen items masked, and the same with the prefix `kept_` with seen items kept.

    Batches are `({"item_ids": [B, L], ...}, targets, weights)`, see `metasgcl_tf.data.pipelines`.

    Args:
        num_items: V, real items; ids are 1..V and 0 is padding.
        max_length: L, the newest items of a history that the model looks at.
        **kwargs: of `keras.Model`.

    Raises:
        InputError: `num_items` or `max_length` is below 1.
    """

    training_recipe = staticmethod(pipelines.next_item)
    title: ClassVar[str]  # in tables
    loss_names: ClassVar[tuple[str, ...]] = ("loss",)
    static_shapes: ClassVar[bool] = True  # False: JAX cannot compile it

    def __init__(self, num_items: int, max_length: int = 50, **kwargs: Any) -> None:
        require(num_items >= 1, "num_items", "at least 1", num_items)
        SequentialRecommender.check_arguments(max_length=max_length)
        backend.keep_freed_memory()
        super().__init__(**kwargs)
        self.num_items, self.max_length = num_items, max_length
        # Compiled at first use.
        self._best_items: Callable | None = None
        self._ranks_of_batch: Callable | None = None
        self.config = {"num_items": num_items, "max_length": max_length}
        self.loss_metrics = {name: keras.metrics.Mean(name=name) for name in self.loss_names}
        self.ranking_means = metrics.RankingMeans()
        self.gradient_norms = keras.metrics.Sum(name="gradient_norms")  # of the epoch's updates; NaN stays

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """Raises an `InputError` if the constructor would refuse these arguments (all but `num_items`)."""
        require(arguments["max_length"] >= 1, "max_length", "at least 1", arguments["max_length"])

    @classmethod
    def learns(cls) -> bool:
        """Whether such a model has a loss, and so something to fit."""
        return cls.compute_loss is not keras.Model.compute_loss

    def create_variables(self) -> None:
        """Creates every variable by one call; a subclass ends its `__init__` with it."""
        self({"item_ids": ops.zeros((1, self.max_length), "int32")}, training=False)

    def build(self, input_shape: Any = None) -> None:
        """Nothing is left to build: the constructor creates every variable."""

    def compile(self, optimizer: Any = "adam", *, jit_compile: bool = False, **kwargs: Any) -> None:
        """Compiles as Keras does and builds the optimizer, so that its state exists from the start.

        XLA is off unless asked for: it recompiles for every new batch shape.

        Raises:
            InputError: a loss or metrics are given, the models bring their own; or the policy is
                mixed_float16, which needs a loss scaler that the updates do not have.
        """
        policy = self.dtype_policy.name
        require(policy != "mixed_float16", "dtype_policy", "mixed_bfloat16 or float32", policy)
        for name in ("loss", "metrics", "weighted_metrics"):
            require(kwargs.get(name) is None, name, "left out: the model brings its own", kwargs.get(name))
        if backend.static_shapes():
            jit_compile = self.static_shapes
        super().compile(optimizer=keras.optimizers.get(optimizer), jit_compile=jit_compile, **kwargs)
        self.optimizer.build(self.trainable_variables)

    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles a reloaded model as it was compiled when it was saved."""
        self.compile(**keras.saving.deserialize_keras_object(config))

    def adapt(self, split: Split) -> None:
        """Takes from the training part what no gradient teaches (counts, say); nothing by default."""

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """Scores of every item as the next one.

        Args:
            inputs: `item_ids` `[B, L]` int32, left padded with 0, newest last.

        Returns:
            `[B, V + 1]` float32; column 0 (padding) is -inf.
        """
        raise NotImplementedError

    def recommend(
        self, item_ids: Tensor, k: int = 10, exclude_seen: bool = True, user_index: Any = None
    ) -> tuple[Tensor, Tensor]:
        """The k best next items of each sequence.

        Args:
            item_ids: `[B, L]` int, left padded with 0, newest last; the model looks at the newest
                `max_length` of them.
            k: how many, 1..V.
            exclude_seen: leave out the items of `item_ids`.
            user_index: `[B]` int rows of the users in the training log, for models that have a vector for
                each; without it everybody is known by the history alone.

        Returns:
            `(item_ids [B, k] int32, scores [B, k] float32)`, best first; a score of -inf marks places left
            over where fewer than k items could be recommended.

        Raises:
            InputError: `k` or `item_ids` breaks its rule.
        """
        require(1 <= k <= self.num_items, "k", f"between 1 and the number of items, {self.num_items}", k)
        item_ids = np.asarray(item_ids, "int32")
        if not len(item_ids):  # of a tensor of no size, TensorFlow cannot tell the other sizes
            return ops.zeros((0, k), "int32"), ops.zeros((0, k))
        rule = "sequences of at least one place, [B, L]"
        require(item_ids.ndim == 2 and item_ids.shape[1] > 0, "item_ids", rule, item_ids)
        known = item_ids.min() >= 0 and item_ids.max() <= self.num_items
        require(known, "item_ids", f"0 or an item, 1 to {self.num_items}: see `log.item_indices`", item_ids)
        if self._best_items is None:
            self._best_items = self._made_fast(self.best_items)
        wanted = {"k": k, "exclude_seen": exclude_seen}
        blocks = _blocks_of_like_length(_lengths(item_ids), pipelines.rows_in_cache(self.num_items))
        users = [] if user_index is None else [np.asarray(user_index, "int32")]
        found = [
            self._best_items(_trimmed(item_ids[block]), *(rows[block] for rows in users), **wanted)
            for block in blocks
        ]
        if len(found) == 1:
            return found[0]
        as_given = np.argsort(np.concatenate(blocks))
        best, scores = (
            ops.take(ops.concatenate(parts), as_given, axis=0) for parts in zip(*found, strict=True)
        )
        return best, scores

    def best_items(
        self, item_ids: Tensor, user_index: Tensor | None = None, *, k: int, exclude_seen: bool
    ) -> tuple[Tensor, Tensor]:
        """`recommend` in one block, as a function of tensors to compile or export."""
        known = {} if user_index is None else {"user_index": user_index}
        scores = self.score_items({"item_ids": item_ids} | known)
        scores, best = ops.top_k(without_items(scores, item_ids) if exclude_seen else scores, k)
        return best, scores

    def target_ranks(self, inputs: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """Ranks of `[B]` targets among all items: `(masked, kept)`, see `metasgcl_tf.metrics.target_ranks`.

        Args:
            inputs: `item_ids` and, of the same users, all `seen` items.
            targets: 1..V.
        """
        return metrics.target_ranks(self.score_items(inputs), targets, inputs["seen"])

    @property
    def ranks_of_batch(self) -> Callable:
        """`target_ranks`, compiled once for all evaluations."""
        if self._ranks_of_batch is None:
            self._ranks_of_batch = self._made_fast(self.target_ranks)
        return self._ranks_of_batch

    def _made_fast(self, function: Callable) -> Callable:
        """A function of tensors that reads the variables, compiled where the model can be."""
        compiles = self.static_shapes or not backend.static_shapes()
        return backend.compiled(function, self.variables) if compiles else function

    def forget_compiled(self) -> None:
        """Has every function compiled anew: they hold the tables they were traced with."""
        self.test_function = self.predict_function = self._best_items = self._ranks_of_batch = None

    def report(self, **values: Tensor) -> None:
        """Updates the running means of `loss_names`."""
        for name, value in values.items():
            self.loss_metrics[name].update_state(value)

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """What `call` returns in training, as far as the loss of these targets needs it."""
        return self(inputs, training=True)

    def minimize(
        self, loss: Callable[[], Tensor], optimizer: keras.optimizers.Optimizer, variables: list
    ) -> None:
        """One update of the given variables on a loss."""
        state = [*self.variables, *self.optimizer.variables, *self.metrics_variables]
        gradients = backend.gradients(loss, variables, state)
        self.gradient_norms.update_state(backend.global_norm(gradients))
        optimizer.apply(gradients, variables)

    def update(self, data: Any, optimizer: keras.optimizers.Optimizer, variables: list) -> dict[str, Tensor]:
        """One update of the given variables on `compute_loss`; returns the running means of `loss_names`.

        Raises:
            tf.errors.InvalidArgumentError, on JAX InputError: targets for more positions than the model has.
        """
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        rule = f"max_length of the data should be at most that of the model, {self.max_length}"
        backend.check(ops.shape(targets)[1] <= self.max_length, rule)

        def loss() -> Tensor:
            outputs = self.training_outputs(inputs, targets)
            return self.compute_loss(inputs, targets, outputs, weights)

        self.minimize(loss, optimizer, variables)
        return {name: metric.result() for name, metric in self.loss_metrics.items()}

    def train_on(self, data: Any) -> dict[str, Tensor]:
        """One batch; a model with more than one update has its own."""
        return self.update(data, self.optimizer, self.trainable_variables)

    def test_on(self, data: Any) -> dict[str, Tensor]:
        """Ranks each target among all items and updates the ranking metrics of both protocols."""
        inputs, targets, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.ranking_means.update_state(*self.target_ranks(inputs, targets))
        return self.ranking_means.result()

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments, in `config`; a subclass with more of them sets it anew."""
        return super().get_config() | self.config

    def predict_on(self, data: Any) -> Tensor:
        """`predict` returns the scores of every item, `[N, V + 1]`."""
        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        return self.score_items(inputs)

    # What Keras' loops call, on either backend.
    _WEIGHTS = ("trainable_variables", "non_trainable_variables")
    train_step = backend.keras_step(
        lambda self, data: self.train_on(data), *_WEIGHTS, "optimizer.variables", "metrics_variables"
    )
    test_step = backend.keras_step(lambda self, data: self.test_on(data), *_WEIGHTS, "metrics_variables")
    predict_step = backend.keras_step(lambda self, data: self.predict_on(data), *_WEIGHTS, returned=1)


def arguments_of(local_names: dict[str, Any]) -> dict[str, Any]:
    """The named arguments of a constructor, from its `locals()` before anything else is assigned there."""
    return {k: v for k, v in local_names.items() if k not in ("self", "kwargs", "__class__")}


def without_items(scores: Tensor, item_ids: Tensor) -> Tensor:
    """`[B, V + 1]` scores with -inf at `[B, N]` item ids; column 0 is -inf anyway."""
    return with_score(scores, item_ids, float("-inf"))


def _lengths(item_ids: np.ndarray) -> np.ndarray:
    """`[B]`, how far back each row of `[B, L]` ids reaches."""
    real = item_ids != 0
    return np.where(real.any(axis=1), item_ids.shape[1] - real.argmax(axis=1), 0)


def _blocks_of_like_length(lengths: np.ndarray, rows: int) -> list[np.ndarray]:
    """Parts rows of these lengths into blocks: at most so many, none more than twice as long as another.

    So at most half of what is computed is padding. Where every shape is compiled, all stay as given.
    """
    places = np.arange(len(lengths)) if backend.static_shapes() else np.argsort(lengths, kind="stable")
    ascending = np.maximum(lengths[places], 8)
    blocks, begin = [], 0
    for end in range(1, len(places) + 1):
        full = end == len(places) or end - begin == rows
        if full or (not backend.static_shapes() and ascending[end] > 2 * ascending[begin]):
            blocks.append(places[begin:end])
            begin = end
    return [np.sort(block) for block in blocks] or [places]


def _trimmed(item_ids: np.ndarray) -> np.ndarray:
    """`[B, L]` ids as short as the longest row allows, in one of a few lengths where each is compiled."""
    length = max(1, int(_lengths(item_ids).max(initial=0)))
    if backend.static_shapes():
        length = int(pipelines.bucketed_lengths(np.array([length]))[0])
    short = item_ids[:, -length:]
    return np.pad(short, [(0, 0), (length - short.shape[1], 0)])
