"""DuoRec: SASRec, regularised by contrasting sequences that dropout or the next item makes alike."""

from typing import Any, ClassVar

import keras
from keras import ops

from metasgcl_tf import losses
from metasgcl_tf.data import pipelines
from metasgcl_tf.errors import require
from metasgcl_tf.models.base import Tensor, arguments_of
from metasgcl_tf.models.neural import rule_checker, target_weights
from metasgcl_tf.models.sasrec import SASRec

# Which states each kind of contrast pulls together.
CONTRASTS: dict[str, list[tuple[str, str]]] = {
    "cross": [("dropout_states", "same_target_states")],
    "unsupervised": [("states", "dropout_states")],
    "supervised": [("states", "same_target_states")],
    "both": [("states", "dropout_states"), ("states", "same_target_states")],
}


@keras.saving.register_keras_serializable(package="metasgcl_tf")
class DuoRec(SASRec):
    """Contrastive learning against the degeneration of representations (Qiu et al. 2022).

    Each training sequence, a prefix, is encoded once for its next item and once more with other dropout, and
    so is another one that has the same next item. The loss adds `contrastive_weight` times the InfoNCE
    between such views at their newest position; as in the authors' code the negatives are both views of every
    other sample of the batch, also of those with the same next item.

    Where this departs from the paper: in what `SASRec` does; a batch holds sequences of similar length, and
    so do the negatives; `"both"` has one weight for its two terms (the authors' code has two).

    Args:
        num_items: V.
        max_length: L, how many items of a history count, the newest ones.
        contrast: `"cross"`, the paper's, between the second pass and the sequence with the same next item; or
            between the first pass and the second (`"unsupervised"`), that sequence (`"supervised"`), or each
            of the two in turn (`"both"`).
        contrastive_weight: lambda, of the contrastive loss.
        temperature: tau of the contrastive loss.
        similarity: `"dot"` or `"cosine"`, of the contrastive loss.
        **kwargs: of `SASRec`.

    Raises:
        InputError: an argument breaks its rule.
    """

    title = "DuoRec"
    training_recipe = staticmethod(pipelines.prefix_pairs)
    loss_names: ClassVar[tuple[str, ...]] = ("loss", "next_item_loss", "contrastive_loss")

    def __init__(
        self,
        num_items: int,
        max_length: int = 50,
        *,
        contrast: str = "cross",
        contrastive_weight: float = 0.1,
        temperature: float = 1.0,
        similarity: str = "dot",
        **kwargs: Any,
    ) -> None:
        own = arguments_of(locals())
        super().__init__(num_items, max_length, **kwargs)
        self.config |= own
        DuoRec.check_arguments(**self.config)
        self.contrast, self.contrastive_weight = contrast, contrastive_weight
        self.temperature, self.similarity = temperature, similarity

    @staticmethod
    def check_arguments(**arguments: Any) -> None:
        """See the base class."""
        SASRec.check_arguments(**arguments)
        check = rule_checker(arguments)
        check(f"one of {', '.join(CONTRASTS)}", CONTRASTS.__contains__, "contrast")
        check("0 or more", lambda x: x >= 0, "contrastive_weight")
        check("above 0", lambda x: x > 0, "temperature")
        check("'dot' or 'cosine'", lambda word: word in ("dot", "cosine"), "similarity")

    def training_outputs(self, inputs: dict[str, Tensor], targets: Tensor) -> dict[str, Tensor]:
        """`states`, and those that the contrast compares, each `[B, T, D]`.

        Both passes over a sequence are one; the one with the same next item is as long as it is.

        Raises:
            InputError: the batch lacks the sequences with the same next item.
        """
        compared = {name for pair in CONTRASTS[self.contrast] for name in pair}
        if "same_target_states" in compared:
            rule = "in every training batch: see the recipe prefix_pairs"
            require("same_target_ids" in inputs, "same_target_ids", rule, sorted(inputs))

        def states_of(item_ids: Tensor) -> Tensor:
            return self({"item_ids": item_ids}, training=True, newest=targets.shape[1])["states"]

        found = {}
        if "dropout_states" in compared:
            twice = states_of(ops.concatenate([inputs["item_ids"]] * 2))
            found["states"], found["dropout_states"] = ops.split(twice, 2)
        else:
            found["states"] = states_of(inputs["item_ids"])
        if "same_target_states" in compared:
            found["same_target_states"] = states_of(inputs["same_target_ids"])
        return found

    def compute_loss(
        self,
        x: Any = None,
        y: Tensor = None,
        y_pred: Any = None,
        sample_weight: Tensor = None,
        training: bool = True,
    ) -> Tensor:
        """The loss over the catalogue and the weighted contrastive loss as a scalar.

        Args:
            x: the inputs, used with a `seen_margin` alone.
            y: `[B, T]` targets of the newest T positions, 0 where there is none.
            y_pred: what `training_outputs` returned.
            sample_weight: `[B, T]` weights; the loss over the catalogue is the weighted SUM over targets, by
                default their mean. The contrastive loss is the mean over the batch.
            training: unused.
        """
        weights = target_weights(y, sample_weight)
        next_item, _ = self.catalogue_loss(x, y_pred["states"], y, weights)
        contrastive = sum(
            losses.info_nce(y_pred[one][:, -1], y_pred[other][:, -1], self.temperature, self.similarity)
            for one, other in CONTRASTS[self.contrast]
        )
        loss = next_item + self.contrastive_weight * contrastive + sum(self.losses)
        self.report(loss=loss, next_item_loss=next_item, contrastive_loss=contrastive)
        return loss
