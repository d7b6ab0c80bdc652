"""What the models that learn item embeddings share: the tied scores, the loss over the catalogue, checks."""

from collections.abc import Callable
from typing import Any

from keras import ops

from metasgcl_tf import backend
from metasgcl_tf.data.splitting import Split
from metasgcl_tf.errors import require
from metasgcl_tf.layers.embedding import ItemEmbedding
from metasgcl_tf.layers.item_loss import LOSSES, SAMPLINGS, ItemLoss
from metasgcl_tf.models.base import SequentialRecommender, Tensor


class NeuralRecommender(SequentialRecommender):
    """A sequential recommender that scores items by the dot products of a state with their embeddings.

    A subclass creates its layers and variables after this constructor, and implements
    `call(inputs, training, newest) -> {"states": ..., ...}`.

    Args:
        config: every argument of the subclass's constructor; those used here are `num_items`, `max_length`,
            `hidden_dim`, `dropout`, `learned_positions`, `item_loss`, `num_negatives` and
            `negative_sampling`.
        **kwargs: of `keras.Model`.

    Raises:
        InputError: an argument breaks its rule.
    """

    def __init__(self, config: dict[str, Any], **kwargs: Any) -> None:
        self.check_arguments(**config)
        super().__init__(config["num_items"], config["max_length"], **kwargs)
        self.config = config
        self.hidden_dim = config["hidden_dim"]
        embedding = ("num_items", "hidden_dim", "max_length", "dropout", "learned_positions")
        self.embedding = ItemEmbedding(*(config[name] for name in embedding))
        loss = ("num_items", "item_loss", "num_negatives", "negative_sampling")
        self.item_loss = ItemLoss(*(config[name] for name in loss), name="item_loss")

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        SequentialRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("at least 1", lambda n: n >= 1, "hidden_dim", "num_heads", "num_layers", "num_negatives")
        heads = arguments["num_heads"]
        check(f"a multiple of num_heads = {heads}", lambda n: n % heads == 0, "hidden_dim")
        check("at least 0 and below 1", lambda x: 0 <= x < 1, "dropout")
        check(f"one of {', '.join(LOSSES)}", LOSSES.__contains__, "item_loss")
        check(f"one of {', '.join(SAMPLINGS)}", (None, *SAMPLINGS).__contains__, "negative_sampling")

    def compile(self, optimizer: Any = "adam", *, jit_compile: bool = False, **kwargs: Any) -> None:
        """See the base class."""
        self.item_loss.static_shapes = jit_compile or backend.static_shapes()
        super().compile(optimizer, jit_compile=jit_compile, **kwargs)

    def adapt(self, split: Split) -> None:
        """Takes the probabilities of sampled negatives from the training part."""
        self.item_loss.adapt(split.item_counts())

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """What `call` returns in training; its states only at the newest positions, where the targets are."""
        return self(inputs, training=True, newest=targets.shape[1])

    def score_items(self, inputs: dict[str, Tensor]) -> Tensor:
        """Scores from the state at the newest position (paper, eq. 22); see the base class."""
        return self.embedding.score(self(inputs, training=False, newest=1)["states"][:, -1])


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
