"""What the variational models share: encoder and decoder around a latent, and the weight of the KL term."""

from typing import Any

import keras
from keras import ops

from metasgcl_tf.layers.gaussian import GaussianSample
from metasgcl_tf.layers.transformer import visible_positions
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import TransformerRecommender, rule_checker


class VariationalTransformer(TransformerRecommender):
    """A Transformer encoder, a Gaussian latent variable at every position, and a Transformer decoder.

    A subclass ends its `__init__` with `create_layers(heads)` and `create_variables()`.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        num_decoder_layers: decoder blocks; with none, latent vectors are states.
        residual_mean: `mean = F + linear(F)` of the encoder output F instead of `linear(F)`.
        kl_weight: beta, after the warm-up.
        kl_warmup_steps: updates over which beta rises linearly from 0.
        **kwargs: of `TransformerRecommender`, whose `num_layers` are those of the encoder.

    Raises:
        InputError: an argument breaks its rule.
    """

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        num_decoder_layers: int = 1,
        residual_mean: bool = True,
        kl_weight: float = 0.01,
        kl_warmup_steps: int = 4000,
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        VariationalTransformer.check_arguments(**self.config)
        self.kl_weight, self.kl_warmup_steps = kl_weight, kl_warmup_steps

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        TransformerRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("0 or more", lambda x: x >= 0, "num_decoder_layers", "kl_weight", "kl_warmup_steps")

    def create_layers(self, heads: keras.layers.Layer) -> None:
        """Creates the layers; `heads` map the encoder output to the mean and the spreads."""
        self.encoder = self.transformer(self.config["num_layers"], name="encoder")
        self.heads = heads
        self.sample = GaussianSample(name="sample")
        self.decoder = self.transformer(self.config["num_decoder_layers"], name="decoder")

    def encode(self, item_ids: Tensor, visible: Tensor, training: bool) -> Tensor:
        """`[B, L]` ids to the encoder output F, `[B, L, D]`."""
        return self.encoder(self.embedding(item_ids, training=training), visible, training=training)

    def drawn_vectors(self, inputs: dict[str, Tensor], samples: Tensor) -> Tensor:
        """`[samples, B, D]` user vectors, each decoded from another draw of z, `mean + sigma * eps`."""
        item_ids = inputs["item_ids"][:, -self.max_length :]
        visible = visible_positions(item_ids)
        mean, log_variance, *_ = self.heads(self.encode(item_ids, visible, training=False))

        def vectors(_: Tensor) -> Tensor:
            latent = self.sample(mean, log_variance)
            return self.decoder(latent, visible, training=False, newest=1)[:, -1]

        return ops.map(vectors, ops.arange(samples))

    def current_kl_weight(self) -> Tensor:
        """Beta at this update."""
        return warmed_up(self.kl_weight, self.kl_warmup_steps, getattr(self, "optimizer", None))


def warmed_up(weight: float, steps: int, optimizer: keras.optimizers.Optimizer | None) -> Tensor:
    """A weight at this update: linear from 0 over `steps` updates; without an optimizer, all of it."""
    if steps == 0 or optimizer is None:
        return ops.convert_to_tensor(weight, "float32")
    progress = ops.cast(optimizer.iterations, "float32") / steps
    return weight * ops.minimum(progress, 1.0)


def mean_sigma(log_variance: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over positions, and mean over D, of the spreads, to report.

    Args:
        log_variance: `[B, T, D]`.
        weights: `[B, T]`.
    """
    sigma = ops.mean(ops.exp(0.5 * ops.cast(log_variance, "float32")), axis=-1)
    return ops.sum(weights * sigma) / total_weight(weights)


def total_weight(weights: Tensor) -> Tensor:
    """The sum of the weights, to divide by, also where no target is left."""
    return ops.maximum(ops.sum(weights), 1e-12)
