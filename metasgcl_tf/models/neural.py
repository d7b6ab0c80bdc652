"""What the models that learn item embeddings share: the tied scores, the loss over the catalogue, checks."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from metasgcl_tf import backend, metrics
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.cooccurrence import spectral_vectors
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require
from metasgcl_tf.layers.embedding import ItemEmbedding, catalogue_scores
from metasgcl_tf.layers.item_loss import LOSSES, SAMPLINGS, ItemLoss
from metasgcl_tf.layers.transformer import Transformer
from metasgcl_tf.models.base import SequentialRecommender, Tensor, arguments_of

START_STD = 0.05  # of the entries of item vectors made of counts


class NeuralRecommender(SequentialRecommender):
    """A sequential recommender that scores items by the dot products of a state with their embeddings.

    A subclass takes these arguments as `**kwargs`, puts its own into `self.config` too and creates its layers
    and variables after this constructor. It implements `call(inputs, training, newest)`, which returns at
    least the `states`.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        hidden_dim: D, the size of the vectors of items and states.
        dropout: everywhere dropout is applied.
        item_loss: `"softmax"`, `"sampled_softmax"`, `"gbce"`, `"bce"`, `"bpr_max"` or `"top1_max"`, see
            `metasgcl_tf.layers.item_loss`.
        num_negatives: negatives of the sampled losses.
        negative_sampling: how they are drawn, see `metasgcl_tf.layers.item_loss`.
        target_decay: gamma, how much the items after the next one are targets too, see
            `metasgcl_tf.layers.item_loss`; for cross-entropies over all positions of a causal pass.
        seen_margin: how far, in nats, the softmax is to keep the items of a history below others, where these
            may be recommended and nobody comes back to them: what a history resembles most is itself. See
            `metasgcl_tf.losses.softmax_cross_entropy`.
        **kwargs: of `keras.Model`.

    Raises:
        InputError: an argument breaks its rule.
    """

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        hidden_dim: int = 64,
        dropout: float = 0.2,
        item_loss: str = "softmax",
        num_negatives: int = 512,
        negative_sampling: str | None = None,
        target_decay: float = 0.0,
        seen_margin: float = 0.0,
        **kwargs: Any,
    ) -> None:
        config = arguments_of(locals())
        NeuralRecommender.check_arguments(**config)
        all_positions = self.training_recipe is pipelines.next_item
        rule = "0 for a model that is not trained on all positions of one causal pass"
        require(all_positions or not target_decay, "target_decay", rule, target_decay)
        among_them = self.training_recipe is pipelines.own_item
        rule = "0 for a model whose targets are items of the history"
        require(not among_them or not seen_margin, "seen_margin", rule, seen_margin)
        super().__init__(num_items, max_length, **kwargs)
        self.config = config
        self.hidden_dim = hidden_dim
        self.embedding = ItemEmbedding(num_items, hidden_dim, max_length, dropout)
        self.item_loss = ItemLoss(
            num_items,
            item_loss,
            num_negatives,
            negative_sampling,
            target_decay,
            seen_margin,
            name="item_loss",
        )

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        SequentialRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("at least 1", lambda n: n >= 1, "hidden_dim", "num_negatives")
        check("at least 0 and below 1", lambda x: 0 <= x < 1, "dropout", "target_decay")
        check("0 or more", lambda x: x >= 0, "seen_margin")
        check(f"one of {', '.join(LOSSES)}", LOSSES.__contains__, "item_loss")
        if arguments["seen_margin"]:
            check("softmax with a seen_margin", "softmax".__eq__, "item_loss")
        if arguments["target_decay"]:
            cross_entropies = ("softmax", "sampled_softmax")
            check(
                f"one of {', '.join(cross_entropies)} with a target_decay",
                cross_entropies.__contains__,
                "item_loss",
            )
        check(f"one of {', '.join(SAMPLINGS)}", (None, *SAMPLINGS).__contains__, "negative_sampling")

    def compile(self, optimizer: Any = "adam", *, jit_compile: bool = False, **kwargs: Any) -> None:
        """See the base class."""
        self.item_loss.static_shapes = jit_compile or backend.static_shapes()
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)

    @property
    def scored_items(self) -> Any:
        """The layer whose `table` scores states: the item embedding, unless a model has another."""
        return self.embedding

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss of the states over the catalogue as a scalar.

        Args:
            x: the inputs, used with a `seen_margin` alone.
            y: `[B, T]` targets of the newest T positions, 0 where there is none.
            y_pred: what `call` returned.
            sample_weight: `[B, T]` weights; the loss is the weighted SUM over targets. By default the mean
                over the batch's targets.
            training: unused.
        """
        states = y_pred["states"][:, -ops.shape(y)[1] :]
        loss, _ = self.catalogue_loss(x, states, y, target_weights(y, sample_weight))
        loss = loss + sum(self.losses)
        self.report(loss=loss)
        return loss

    def catalogue_loss(
        self, inputs: dict[str, Tensor] | None, states: Tensor, targets: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The loss of `[B, T, D]` states, or of n views `[n B, T, D]`, and its terms, see `ItemLoss`."""
        seen = inputs["item_ids"] if self.item_loss.seen_margin else None
        return self.item_loss(states, targets, weights, embedding=self.scored_items, seen=seen)

    def adapt(self, split: Split) -> None:
        """Takes the probabilities of sampled negatives from the training part."""
        self.item_loss.adapt(split.item_counts())

    def start_from_cooccurrence(self, split: Split) -> None:
        """Gives a new model item vectors whose products say which items stand near each other in training.

        A fit then begins with what counting knows, which random vectors of a long catalogue take many epochs
        to learn, and many of overfitting what little the log says of rare items. Items without a neighbour
        keep the vectors they have. See `metasgcl_tf.data.cooccurrence.spectral_vectors`.
        """
        vectors = spectral_vectors(split, self.hidden_dim)
        told = vectors.any(axis=1)
        if not told.any():
            return
        # Any rotation has the same products; a random one lets every attention head see a share of all.
        rotation = ops.convert_to_numpy(keras.initializers.Orthogonal()((self.hidden_dim, self.hidden_dim)))
        vectors = vectors[told] @ rotation
        rows = np.array(ops.convert_to_numpy(self.embedding.table))
        rows[told] = vectors * (START_STD / vectors.std())
        self.embedding.table.assign(rows)

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """What `call` returns in training; its states only at the newest positions, where the targets are."""
        return self(inputs, training=True, newest=targets.shape[1])

    def user_vectors(self, inputs: dict[str, Tensor]) -> Tensor:
        """`[B, D]`, the states at the newest position, whose products with the items' vectors are scores."""
        return self(inputs, training=False, newest=1)["states"][:, -1]

    def item_vectors(self) -> Tensor:
        """`[V + 1, D]`; row 0 is padding."""
        # A tensor, read once: TensorFlow copies a variable that is updated row by row whenever it is read.
        return ops.stop_gradient(self.scored_items.table)

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """Products of user and item vectors (paper, eq. 22); see the base class."""
        return catalogue_scores(self.user_vectors(inputs), self.item_vectors())

    def target_ranks(self, inputs: dict[str, Tensor], targets: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class; the scores of a few users at a time, which never leave the cache."""
        vectors, item_vectors = self.user_vectors(inputs), self.item_vectors()
        num_users = ops.shape(vectors)[0]
        rows = pipelines.rows_in_cache(self.num_items)
        rows = min(num_users, rows) if backend.static_shapes() else ops.minimum(num_users, rows)

        def in_blocks(of_users: Tensor) -> Tensor:
            padded = ops.pad(of_users, [(0, -num_users % rows), *[(0, 0)] * (len(of_users.shape) - 1)])
            return ops.reshape(padded, (-1, rows, *ops.shape(of_users)[1:]))

        def ranks(block: tuple[Tensor, Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            of_users, of_targets, seen = block
            scores = ops.cast(ops.matmul(item_vectors, ops.transpose(of_users)), "float32")
            return metrics.target_ranks(scores, of_targets, seen, items_first=True)

        masked, kept = ops.map(ranks, tuple(map(in_blocks, (vectors, targets, inputs["seen"]))))
        return ops.reshape(masked, (-1,))[:num_users], ops.reshape(kept, (-1,))[:num_users]


class TransformerRecommender(NeuralRecommender):
    """A neural recommender made of causal Transformers.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        num_layers: Transformer blocks (of the encoder, where there is a decoder too).
        num_heads: attention heads; they divide `hidden_dim`.
        norm_first: pre-norm blocks instead of post-norm.
        learned_positions: learned positions counted from the end of the window, added to the items, instead
            of relative ones in the attention; suits training on prefixes.
        input_norm: layer norm of the embedded items (paper, eq. 4); without it they are scaled by sqrt(D), so
            that items that are rare, and whose vectors are short, say less.
        **kwargs: of `NeuralRecommender`.
    """

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        num_layers: int = 2,
        num_heads: int = 2,
        norm_first: bool = False,
        learned_positions: bool = False,
        input_norm: bool = True,
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        TransformerRecommender.check_arguments(**self.config)
        self.embedding.learned_positions, self.embedding.input_norm = learned_positions, input_norm

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        NeuralRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("at least 1", lambda n: n >= 1, "num_heads", "num_layers")
        heads = arguments["num_heads"]
        check(f"a multiple of num_heads = {heads}", lambda n: n % heads == 0, "hidden_dim")

    def transformer(self, num_layers: int, name: str) -> Transformer:
        """Blocks of this model's kind."""
        shared = {name: self.config[name] for name in ("num_heads", "max_length", "dropout", "norm_first")}
        relative = not self.config["learned_positions"]
        return Transformer(num_layers, name=name, relative_positions=relative, **shared)


def rule_checker(arguments: dict[str, Any]) -> Callable[..., None]:
    """A function `check(rule, holds, *names)` that raises an `InputError` where an argument breaks a rule."""

    def check(rule: str, holds: Callable[[Any], bool], *names: str) -> None:
        for name in names:
            require(holds(arguments[name]), name, rule, arguments[name])

    return check


def target_weights(targets: Tensor, sample_weight: Tensor | None) -> Tensor:
    """`[B, T]` weights, 0 where there is no target; by default such that the weighted sum is a mean."""
    real = ops.cast(ops.not_equal(targets, 0), "float32")
    if sample_weight is None:
        return real / ops.maximum(ops.sum(real), 1.0)
    return sample_weight * real
