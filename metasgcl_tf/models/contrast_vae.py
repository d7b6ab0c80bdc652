"""ContrastVAE: a variational autoencoder of two branches, whose latents of one history are contrasted."""

from typing import Any, ClassVar

import keras
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.data.augmentations import augment
from metasgcl_tf.layers.gaussian import MeanAndSpread
from metasgcl_tf.layers.transformer import visible_positions
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import rule_checker, target_weights
from metasgcl_tf.models.variational import VariationalTransformer, mean_sigma, total_weight

AUGMENTATIONS = ("variational", "model", "data")


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class ContrastVAE(VariationalTransformer):
    """Contrastive variational autoencoder (Wang et al. 2022, CIKM; arXiv 2209.00456).

    Two branches through one encoder, one pair of heads and one decoder: the history as it is, and a second
    view of it. Both predict the next item, and minimised is the negative ContrastELBO,

        rs + rs' + kl_weight * (kl + kl') + contrastive_weight * InfoNCE(z, z')

    and, where the second branch learns the scale of its noise, `losses.dropout_kl` of it, as in the authors'
    code.

    At evaluation and serving there is the first branch alone, and z is the mean, without noise.

    Where this departs from the paper or its authors' code: the loss is the softmax over the catalogue (theirs
    is binary cross-entropy against one negative); mean and log-variance are linear maps of one encoder
    (theirs are two encoders), the log-variance starts near -4, and the mean is residual, unless
    `residual_mean=False`; the first branch draws noise and serving takes the mean (their code adds sigma in
    both); z is summed over real positions (theirs: over padding too); KL counts at targets only; and see
    SASRec about attention, norms and feed-forward nets. Of `"data"`: a masked item is hidden instead of
    replaced by a token, a crop stays at its place, each of the three changes has the same chance (their code
    always reorders), and where the second branch lost its item or may see its target, it predicts nothing.

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        augmentation: what makes the second view besides its own dropout and noise: `"variational"`, the
            paper's best on short histories: sigma' is multiplied by a learned scale; `"model"`: nothing else;
            `"data"`: the input is cropped, masked or reordered.
        contrastive_weight: weight of InfoNCE.
        temperature: tau of InfoNCE between cosines.
        **kwargs: of `VariationalTransformer`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "ContrastVAE"
    loss_names: ClassVar[tuple[str, ...]] = (
        "loss",
        "reconstruction_loss",
        "second_reconstruction_loss",
        "kl",
        "second_kl",
        "contrastive_loss",
        "kl_weight",
        "kl_per_dim",
        "mean_sigma",
        "noise_scale",
    )

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        augmentation: str = "variational",
        contrastive_weight: float = 0.03,
        temperature: float = 0.5,
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        ContrastVAE.check_arguments(**self.config)
        self.augmentation = augmentation
        self.contrastive_weight, self.temperature = contrastive_weight, temperature
        self.create_layers(MeanAndSpread(self.config["residual_mean"], name="heads"))
        self.seed_generator = keras.random.SeedGenerator()  # of the second branch's input
        if augmentation == "variational":  # the logit of the scale, which starts at 1/2
            self.noise_logit = self.add_weight(name="noise_logit", shape=(), initializer="zeros")
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        VariationalTransformer.check_arguments(**arguments)
        check = rule_checker(arguments)
        check(f"one of {', '.join(AUGMENTATIONS)}", AUGMENTATIONS.__contains__, "augmentation")
        check("0 or more", lambda x: x >= 0, "contrastive_weight")
        check("above 0", lambda x: x > 0, "temperature")

    # ---- the model ----------------------------------------------------------------------------

    def second_view(self, item_ids: Tensor) -> tuple[Tensor, Tensor]:
        """The second branch's input `[B, L]`, and where it predicts the next item, `[B, L]` bool."""
        if self.augmentation == "data":
            return augment(item_ids, self.seed_generator)
        return item_ids, ops.not_equal(item_ids, 0)

    def noise_scale(self) -> Tensor:
        """What multiplies the second branch's sigma, a float32 scalar."""
        if self.augmentation == "variational":
            return ops.sigmoid(ops.cast(self.noise_logit, "float32"))
        return ops.ones(())

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """The latent Gaussians and the decoded states of both branches.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count.
            training: make the second view, draw z, apply dropout; otherwise there is the first branch alone,
                shown as both, and z is the mean.
            newest: how many positions to decode states for; by default all.

        Returns:
            Of the first branch and, with the prefix `second_`, of the other: `mean`, `log_variance` and
            `states`, `[B, L, D]`, the states with `newest` `[B, newest, D]`, and `history` `[B, D]`, the sum
            of z. And `second_predicts` `[B, L]`, where the second branch predicts the next item.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        ids, predicts = [item_ids], ops.not_equal(item_ids, 0)
        if training:
            second_ids, predicts = self.second_view(item_ids)
            ids.append(second_ids)
        # One pass of the shared layers over both branches.
        together = ops.concatenate(ids)
        visible = visible_positions(together)
        gaussians = self.heads(self.encode(together, visible, training))
        means, log_variances = (ops.split(tensor, len(ids)) for tensor in gaussians)
        latents = self.draw(means, log_variances) if training else means
        states = self.decoder(ops.concatenate(latents), visible, training=training, newest=newest)
        found = {
            "mean": means,
            "log_variance": log_variances,
            "states": ops.split(states, len(ids)),
            "history": [sum_over_items(z, items) for z, items in zip(latents, ids, strict=True)],
        }
        first = {name: branches[0] for name, branches in found.items()}
        second = {f"second_{name}": branches[-1] for name, branches in found.items()}
        return first | second | {"second_predicts": predicts}

    def draw(self, means: list[Tensor], log_variances: list[Tensor]) -> list[Tensor]:
        """Both branches' z; the second one's sigma is multiplied by the noise scale."""
        log_scale = ops.cast(ops.log(self.noise_scale()), means[1].dtype)
        return [
            self.sample(means[0], log_variances[0]),
            self.sample(means[1], log_variances[1] + 2 * log_scale),
        ]

    # ---- the objective ------------------------------------------------------------------------

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The negative ContrastELBO as a scalar; its terms are reported.

        Arguments as of `NeuralRecommender`'s.
        """
        weights, num_targets = target_weights(y, sample_weight), ops.shape(y)[1]
        newest = {name: t[:, -num_targets:] for name, t in y_pred.items() if not name.endswith("history")}
        second_weights = weights * ops.cast(newest["second_predicts"], "float32")
        # Both branches go through the catalogue in one pass.
        reconstruction, both_losses = self.catalogue_loss(
            x,
            ops.concatenate([newest["states"], newest["second_states"]]),
            ops.tile(y, (2, 1)),
            ops.concatenate([weights, second_weights]),
        )
        first, second = ops.split(both_losses, 2)
        divergence = losses.gaussian_kl(newest["mean"], newest["log_variance"])
        second_divergence = losses.gaussian_kl(newest["second_mean"], newest["second_log_variance"])
        terms = {
            "reconstruction_loss": ops.sum(first),
            "second_reconstruction_loss": ops.sum(second),
            "kl": ops.sum(weights * divergence),
            "second_kl": ops.sum(second_weights * second_divergence),
            "contrastive_loss": self.contrast(y_pred["history"], y_pred["second_history"]),
        }
        kl_weight, noise_scale = self.current_kl_weight(), self.noise_scale()
        loss = (
            reconstruction
            + kl_weight * (terms["kl"] + terms["second_kl"])
            + self.contrastive_weight * terms["contrastive_loss"]
            + sum(self.losses)
        )
        if self.augmentation == "variational":
            loss = loss + losses.dropout_kl(noise_scale)
        kl_per_dim = terms["kl"] / total_weight(weights) / self.hidden_dim
        sigma = mean_sigma(newest["log_variance"], weights)
        scales = {"kl_weight": kl_weight, "kl_per_dim": kl_per_dim, "mean_sigma": sigma}
        self.report(loss=loss, **terms, **scales, noise_scale=noise_scale)
        return loss

    def contrast(self, history: Tensor, second_history: Tensor) -> Tensor:
        """InfoNCE between the latents of both branches, `[B, D]` each, a scalar."""
        return losses.info_nce(history, second_history, self.temperature, similarity="cosine")


def sum_over_items(latent: Tensor, item_ids: Tensor) -> Tensor:
    """`[B, L, D]` summed over the positions that hold an item, `[B, D]` float32."""
    real = ops.cast(ops.not_equal(item_ids, 0), "float32")
    return ops.sum(real[..., None] * ops.cast(latent, "float32"), axis=1)
