"""Meta-SGCL: two generated views of a sequence, contrasted, with a two-step update.

"Meta-optimized Joint Generative and Contrastive Learning for Sequential Recommendation",
arXiv 2310.13925; equation numbers are the paper's.
"""

from typing import Any, ClassVar

import keras
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.layers.gaussian import GaussianHeads
from metasgcl_tf.layers.transformer import visible_positions
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import rule_checker, target_weights
from metasgcl_tf.models.variational import VariationalTransformer, mean_sigma, total_weight
from metasgcl_tf.optimizers import paired


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class MetaSGCL(VariationalTransformer):
    """A Transformer variational autoencoder that contrasts two views drawn with two spreads.

    An encoder gives every position a mean and two spreads, sigma and sigma'; each spread yields a view
    (eq. 12, 15), a shared decoder turns the views into states (eq. 13), and both predict the next item.
    Step 1 of every update trains all but sigma' on the whole objective

        rs + meta_rs + kl_weight * (kl + meta_kl) + contrastive_weight * cl            (eq. 28)

    and step 2 trains sigma' alone, with its own optimizer, on the contrastive loss of the updated model.
    At evaluation and serving z is the mean, without noise.

    Where this departs from the paper: the spread heads give log-variances; the mean is residual; the
    KL weight warms up linearly; the loss terms have the signs of a minimised double ELBO. KL and
    cross-entropy are weighted alike, position by position: each target of the log counts the same.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        contrastive_weight: alpha, of the contrastive loss.
        temperature: tau of the contrastive loss.
        similarity: `"dot"` or `"cosine"`, of the contrastive loss.
        training: `"two_step"`, or `"joint"` for one update of everything on the whole objective (Fig. 3).
        **kwargs: of `VariationalTransformer`.

    Raises:
        InputError: an argument is outside what is said here.
    """

    title = "Meta-SGCL"
    loss_names: ClassVar[tuple[str, ...]] = (
        "loss",
        "reconstruction_loss",
        "meta_reconstruction_loss",
        "kl",
        "meta_kl",
        "contrastive_loss",
        "kl_weight",
        "kl_per_dim",
        "mean_sigma",
        "mean_meta_sigma",
    )

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        contrastive_weight: float = 0.03,
        temperature: float = 1.0,
        similarity: str = "dot",
        training: str = "two_step",
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        MetaSGCL.check_arguments(**self.config)
        self.contrastive_weight = contrastive_weight
        self.temperature, self.similarity = temperature, similarity
        self.two_step = training == "two_step"
        self.create_layers(GaussianHeads(self.config["residual_mean"], name="heads"))
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        VariationalTransformer.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("0 or more", lambda x: x >= 0, "contrastive_weight")
        check("above 0", lambda x: x > 0, "temperature")
        check("'dot' or 'cosine'", lambda word: word in ("dot", "cosine"), "similarity")
        check("'two_step' or 'joint'", lambda word: word in ("two_step", "joint"), "training")

    # ---- the model ----------------------------------------------------------------------------

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """The latent Gaussians and the decoded states of both views at every position.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count.
            training: draw the views; otherwise both are the mean.
            newest: how many positions to decode states for; by default all.

        Returns:
            `mean`, `log_variance`, `meta_log_variance`, `states` and `meta_states`, each `[B, L, D]`, the
            states with `newest` `[B, newest, D]`.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        visible = visible_positions(item_ids)
        encoded = self.encode(item_ids, visible, training)
        mean, log_variance, meta_log_variance = self.heads(encoded)
        if training:
            views = [self.sample(mean, log_variance), self.sample(mean, meta_log_variance)]
            # One pass of the shared decoder over both views.
            both_visible = ops.concatenate([visible, visible])
            both = self.decoder(ops.concatenate(views), both_visible, training=True, newest=newest)
            states, meta_states = ops.split(both, 2)
        else:
            states = meta_states = self.decoder(mean, visible, training=False, newest=newest)
        return {
            "mean": mean,
            "log_variance": log_variance,
            "meta_log_variance": meta_log_variance,
            "states": states,
            "meta_states": meta_states,
        }

    # ---- the objective ------------------------------------------------------------------------

    def contrast(self, states: Tensor, meta_states: Tensor) -> Tensor:
        """InfoNCE between the views at the newest position (eq. 26), a scalar."""
        return losses.info_nce(states[:, -1], meta_states[:, -1], self.temperature, self.similarity)

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The whole objective (eq. 28) as a scalar; the terms go to `loss_metrics`.

        Args:
            x: the inputs, used with a `seen_margin` alone.
            y: `[B, T]` targets of the newest T positions, 0 where there is none.
            y_pred: what `call` returned.
            sample_weight: `[B, T]` weights; the loss is the weighted SUM over targets. By default the mean
                over the batch's targets.
            training: unused.
        """
        weights = target_weights(y, sample_weight)
        newest = {name: tensor[:, -ops.shape(y)[1] :] for name, tensor in y_pred.items()}

        def total(per_target: Tensor) -> Tensor:
            return ops.sum(weights * per_target)

        # Both views go through the catalogue in one pass.
        both_states = ops.concatenate([newest["states"], newest["meta_states"]])
        reconstruction, both_losses = self.catalogue_loss(
            x, both_states, ops.tile(y, (2, 1)), ops.tile(weights, (2, 1))
        )
        view_losses, meta_view_losses = ops.split(both_losses, 2)
        kl_weight = self.current_kl_weight()
        terms = {
            "reconstruction_loss": ops.sum(view_losses),
            "meta_reconstruction_loss": ops.sum(meta_view_losses),
            "kl": total(losses.gaussian_kl(newest["mean"], newest["log_variance"])),
            "meta_kl": total(losses.gaussian_kl(newest["mean"], newest["meta_log_variance"])),
            "contrastive_loss": self.contrast(y_pred["states"], y_pred["meta_states"]),
        }
        loss = (
            reconstruction
            + kl_weight * (terms["kl"] + terms["meta_kl"])
            + self.contrastive_weight * terms["contrastive_loss"]
            + sum(self.losses)
        )
        self._report_terms(loss, terms, kl_weight, newest, weights)
        return loss

    def _report_terms(
        self,
        loss: Tensor,
        terms: dict[str, Tensor],
        kl_weight: Tensor,
        newest: dict[str, Tensor],
        weights: Tensor,
    ) -> None:
        values = terms | {
            "loss": loss,
            "kl_weight": kl_weight,
            "kl_per_dim": terms["kl"] / total_weight(weights) / self.hidden_dim,
            "mean_sigma": mean_sigma(newest["log_variance"], weights),
            "mean_meta_sigma": mean_sigma(newest["meta_log_variance"], weights),
        }
        self.report(**values)

    # ---- the update ---------------------------------------------------------------------------

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Compiles as Keras does.

        Args:
            optimizer: a `PairOptimizer`, or one optimizer; in two-step training the meta encoder then
                gets a second one of the same configuration.
            **kwargs: of `keras.Model.compile`.
        """
        super().compile(paired(optimizer) if self.two_step else optimizer, **kwargs)

    def train_on(self, data: Any) -> dict[str, Tensor]:
        """One batch: the main update and, in two-step training, the meta encoder's after it."""
        if not self.two_step:
            return super().train_on(data)
        variables, meta_variables = self.optimizer.split(self.trainable_variables)
        logs = self.update(data, self.optimizer.main, variables)

        inputs, _, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.minimize(lambda: self.meta_loss(inputs), self.optimizer.meta, meta_variables)
        return logs

    def meta_loss(self, inputs: dict[str, Tensor]) -> Tensor:
        """What step 2 minimises: the contrastive loss of the batch, encoded again.

        It needs neither scores nor the decoder's last block but at the newest position, nor, because only the
        meta encoder moves, gradients of anything before it.
        """
        outputs = self(inputs, training=True, newest=1)
        return self.contrast(outputs["states"], outputs["meta_states"])
