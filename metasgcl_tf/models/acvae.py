"""ACVAE: a recurrent variational autoencoder with an adversary in place of the analytic KL."""

from typing import Any, ClassVar

import keras
from keras import ops

from metasgcl_tf.errors import require
from metasgcl_tf.layers.adversarial import NoisyConvolution, PairScore, pair_loss
from metasgcl_tf.layers.alignment import rotated
from metasgcl_tf.layers.gaussian import GaussianSample
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import NeuralRecommender, rule_checker, target_weights
from metasgcl_tf.models.variational import warmed_up
from metasgcl_tf.optimizers import paired

ADVERSARY = "adversary"  # name of its layer, and so of what the second optimizer updates


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class ACVAE(NeuralRecommender):
    """Adversarial and contrastive variational autoencoder (Xie et al. 2021, WWW; arXiv 2103.10693).

    A GRU with a causal convolution on top turns a history and noise into a latent z at every position, and a
    decoder predicts the next item from it. How far z is from the prior N(0, I) cannot be computed, since the
    posterior has no density: an adversary T(x, z) estimates it, as in adversarial variational Bayes, by
    telling an item with its z from the item with a draw from the prior. A critic C(s, z) likewise tells a
    history with its own z from the history with another user's. Step 1 of every update trains all but the
    adversary on

        cross-entropy + kl_weight * T(x, z) + contrastive_weight * pair_loss(C(s, z), C(s, other z)),

    and step 2 the adversary alone, with its own optimizer, on `pair_loss(T(x, z), T(x, prior's z))` of the
    updated model. At evaluation and serving there is no noise.

    Where this departs from the paper or its authors' code: items are scored with the embedding table, which
    is layer-normalised on the way in; no noise at evaluation (theirs: noise); T is one number, is given z
    squared, and takes x as data, without a gradient (theirs: the mean of one number a latent dimension, to
    which z squared is added); the critic reads the history with a GRU, and one z (theirs: all z, with the
    GRU), and a pair counts where both users have an item; the encoder is not updated twice on the
    contrastive loss; the KL weight warms up; one dropout rate; both optimizers are of one kind, unless given
    (theirs: AdamW and SGD).

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        kernel_size: positions that the convolution looks at.
        kl_weight: of T, after the warm-up.
        kl_warmup_steps: updates over which it rises linearly from 0, and the adversary learns its task.
        contrastive_weight: of the critic's loss.
        **kwargs: of `NeuralRecommender`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "ACVAE"
    loss_names: ClassVar[tuple[str, ...]] = (
        "loss",
        "reconstruction_loss",
        "kl",
        "contrastive_loss",
        "adversary_loss",
        "kl_weight",
    )

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        kernel_size: int = 5,
        kl_weight: float = 0.01,
        kl_warmup_steps: int = 4000,
        contrastive_weight: float = 0.1,
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        ACVAE.check_arguments(**self.config)
        self.kl_weight, self.kl_warmup_steps = kl_weight, kl_warmup_steps
        self.contrastive_weight = contrastive_weight
        dim, dropout = self.hidden_dim, self.config["dropout"]
        self.dropout = keras.layers.Dropout(dropout)
        self.gru = keras.layers.GRU(dim, return_sequences=True, name="gru")
        self.posterior = NoisyConvolution(kernel_size, dropout, name="posterior")
        self.sample = GaussianSample(name="sample")
        self.decoder = keras.layers.Dense(dim, "tanh", name="decoder")
        self.history_gru = keras.layers.GRU(dim, return_sequences=True, name="history_gru")
        self.critic = PairScore(name="critic")
        self.adversary = PairScore(name=ADVERSARY)
        for judge in (self.critic, self.adversary):  # scoring items needs neither
            judge.build((None, None, dim))
        self.create_variables()

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        NeuralRecommender.check_arguments(**arguments)
        check = rule_checker(arguments)
        check("at least 1", lambda n: n >= 1, "kernel_size")
        check("0 or more", lambda x: x >= 0, "kl_weight", "kl_warmup_steps", "contrastive_weight")

    # ---- the model ----------------------------------------------------------------------------

    def call(
        self, inputs: dict[str, Tensor], training: bool = False, newest: int | None = None
    ) -> dict[str, Tensor]:
        """The latents and the decoded state at every position.

        Args:
            inputs: `item_ids` `[B, L]` int, left padded with 0, newest last; of longer windows than
                `max_length` the newest items count.
            training: draw z and apply dropout; otherwise the noise is 0.
            newest: how many positions to decode states for; by default all.

        Returns:
            `items` (x), `history` (s), `latent` (z) and `states`, each `[B, L, D]`, the states with `newest`
            `[B, newest, D]`.
        """
        item_ids = inputs["item_ids"][:, -self.max_length :]
        # Padding stands behind the items here: what looks back alone never meets it.
        padding = ops.sum(ops.cast(ops.equal(item_ids, 0), "int32"), axis=1)
        items = self.embedding(rotated(item_ids, padding))
        states = self.gru(self.dropout(items, training=training))
        noise = [self.standard_normal(states) for _ in range(2)] if training else None
        latent = self.posterior(states, noise, training=training)
        history = self.history_gru(items)
        items, history, latent = (rotated(each, -padding) for each in (items, history, latent))
        states = self.decoder(latent if newest is None else latent[:, -newest:])
        return {"items": items, "history": history, "latent": latent, "states": states}

    def standard_normal(self, like: Tensor) -> Tensor:
        """A draw from N(0, I) of some tensor's shape."""
        zeros = ops.zeros_like(like)
        return self.sample(zeros, zeros)

    # ---- the objective ------------------------------------------------------------------------

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """What step 1 minimises, a scalar; its terms are reported. Arguments as of `NeuralRecommender`'s."""
        weights, num_targets = target_weights(y, sample_weight), ops.shape(y)[1]
        newest = {name: tensor[:, -num_targets:] for name, tensor in y_pred.items()}
        reconstruction, _ = self.catalogue_loss(x, newest["states"], y, weights)
        log_ratio = self.adversary(ops.stop_gradient(newest["items"]), newest["latent"])
        real = ops.not_equal(x["item_ids"][:, -num_targets:], 0)
        terms = {
            "reconstruction_loss": reconstruction,
            "kl": ops.sum(weights * log_ratio),
            "contrastive_loss": ops.sum(weights * self.contrast(newest["history"], newest["latent"], real)),
            "kl_weight": warmed_up(self.kl_weight, self.kl_warmup_steps, getattr(self, "optimizer", None)),
        }
        loss = (
            reconstruction
            + terms["kl_weight"] * terms["kl"]
            + self.contrastive_weight * terms["contrastive_loss"]
            + sum(self.losses)
        )
        self.report(loss=loss, **terms)
        return loss

    def contrast(self, history: Tensor, latent: Tensor, real: Tensor) -> Tensor:
        """The critic's loss with the latents of the next user of the batch as the others.

        Args:
            history: `[B, T, D]`.
            latent: `[B, T, D]`.
            real: `[B, T]` bool, where there is an item.

        Returns:
            `[B, T]` float32, 0 where either user has no item, or where there is no other user.
        """
        others = ops.roll(latent, -1, axis=0)
        terms = pair_loss(self.critic(history, latent), self.critic(history, others))
        comparable = ops.logical_and(real, ops.roll(real, -1, axis=0))
        return ops.where(ops.logical_and(comparable, ops.shape(latent)[0] > 1), terms, 0.0)

    # ---- the updates --------------------------------------------------------------------------

    def compile(self, optimizer: Any = "adam", **kwargs: Any) -> None:
        """Compiles as Keras does.

        Args:
            optimizer: a `PairOptimizer` whose `meta_layer` is `"adversary"`, or one optimizer; the adversary
                then gets a second one of the same configuration.
            **kwargs: of `keras.Model.compile`.
        """
        optimizer = paired(optimizer, ADVERSARY)
        require(optimizer.meta_layer == ADVERSARY, "meta_layer", f"{ADVERSARY!r}", optimizer.meta_layer)
        super().compile(optimizer, **kwargs)

    def train_on(self, data: Any) -> dict[str, Tensor]:
        """One batch: the main update, and the adversary's after it."""
        variables, adversary_variables = self.optimizer.split(self.trainable_variables)
        self.update(data, self.optimizer.main, variables)
        self.minimize(lambda: self.adversary_loss(data), self.optimizer.meta, adversary_variables)
        return {name: metric.result() for name, metric in self.loss_metrics.items()}

    def adversary_loss(self, data: Any) -> Tensor:
        """What step 2 minimises: telling items with their z, drawn again, from items with the prior's."""
        inputs, targets, weights = keras.utils.unpack_x_y_sample_weight(data)
        outputs, num_targets = self.training_outputs(inputs, targets), ops.shape(targets)[1]
        items, latent = (ops.stop_gradient(outputs[name][:, -num_targets:]) for name in ("items", "latent"))
        terms = pair_loss(self.adversary(items, latent), self.adversary(items, self.standard_normal(latent)))
        loss = ops.sum(target_weights(targets, weights) * terms)
        self.report(adversary_loss=loss)
        return loss
