"""VSAN: a self-attention encoder and decoder around a Gaussian latent variable at every position."""

from typing import Any, ClassVar

import keras
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.layers.gaussian import MeanAndSpread
from metasgcl_tf.layers.transformer import visible_positions
from metasgcl_tf.models.base import Tensor
from metasgcl_tf.models.neural import target_weights
from metasgcl_tf.models.variational import VariationalTransformer, mean_sigma, total_weight


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class VSAN(VariationalTransformer):
    """Variational self-attention network (Zhao et al. 2021).

    An encoder gives every position a mean and a spread, a decoder turns a draw from them into a state, and
    the state predicts the next item. Minimised is the negative ELBO with an annealed weight,

        cross-entropy + kl_weight * KL(N(mean, sigma^2) || N(0, I)).

    At evaluation and serving z is the mean, without noise.

    Where this departs from the paper: items are scored with the tied embedding table; every position has
    one target, its next item; the spread is given as a log-variance that starts near -4; the mean is
    residual, unless `residual_mean=False`; the KL weight rises linearly to `kl_weight` and KL counts at
    targets only, each target of the log the same; and where SASRec departs from its own: attention with
    relative positions, the order of layer norms, feed-forward nets 4 D wide with GELU.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        **kwargs: of `VariationalTransformer`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "VSAN"
    loss_names: ClassVar[tuple[str, ...]] = (
        "loss",
        "reconstruction_loss",
        "kl",
        "kl_weight",
        "kl_per_dim",
        "mean_sigma",
    )

    def __init__(self, num_items: int, max_length: int = 50, **kwargs: Any) -> None:
        super().__init__(num_items, max_length, **kwargs)
        self.create_layers(MeanAndSpread(self.config["residual_mean"], name="heads"))
        self.create_variables()

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """The latent Gaussian and the decoded state at every position.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count.
            training: draw z and apply dropout; otherwise z is the mean.
            newest: how many positions to decode states for; by default all.

        Returns:
            `mean` and `log_variance` `[B, L, D]`, and `states` `[B, L, D]`, with `newest` `[B, newest, D]`.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        visible = visible_positions(item_ids)
        mean, log_variance = self.heads(self.encode(item_ids, visible, training))
        latent = self.sample(mean, log_variance) if training else mean
        states = self.decoder(latent, visible, training=training, newest=newest)
        return {"mean": mean, "log_variance": log_variance, "states": states}

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The negative ELBO as a scalar; its terms are reported. Arguments as of `NeuralRecommender`'s."""
        weights = target_weights(y, sample_weight)
        newest = {name: tensor[:, -ops.shape(y)[1] :] for name, tensor in y_pred.items()}
        reconstruction, _ = self.catalogue_loss(x, newest["states"], y, weights)
        kl = ops.sum(weights * losses.gaussian_kl(newest["mean"], newest["log_variance"]))
        kl_weight = self.current_kl_weight()
        loss = reconstruction + kl_weight * kl + sum(self.losses)
        self.report(
            loss=loss,
            reconstruction_loss=reconstruction,
            kl=kl,
            kl_weight=kl_weight,
            kl_per_dim=kl / total_weight(weights) / self.hidden_dim,
            mean_sigma=mean_sigma(newest["log_variance"], weights),
        )
        return loss
