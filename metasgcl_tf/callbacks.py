"""Keras callbacks of a training run: guards and progress."""

import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import keras
from keras import ops
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from metasgcl_tf.errors import NonFiniteLossError

# Below this, in nats per dimension, the posterior says nothing about the sequence any more.
COLLAPSED_KL = 0.001


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` at the first step where a term of the loss or the gradient is not finite.

    A step sums up one number for the gradient, its norm, in the model's `gradient_norms`. A model that the
    last step of an epoch broke is found before it is kept, so this stands before `KeepBest` and
    `KeepCheckpoints` in the list of callbacks.

    Args:
        terms: names in the training logs, in the order they are blamed: parts before their sum.
        checkpoint: the file of the best epoch so far, for the message; None where none is kept.
    """

    def __init__(self, terms: Sequence[str], checkpoint: Path | None) -> None:
        super().__init__()
        self.terms, self.checkpoint = terms, checkpoint
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the running means of the epoch, in which a NaN stays."""
        self.steps += 1
        for name in self.terms:
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                self.stop(f"`{name}` became {value}")
        norms = getattr(self.model, "gradient_norms", None)
        if norms is not None and not math.isfinite(float(norms.result())):
            broken = [v.path for v in self.model.trainable_variables if not ops.all(ops.isfinite(v))]
            where = f", which reached `{broken[0]}`," if broken else ""
            self.stop(f"The gradient{where} became non-finite")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the weights, and at the scores after some history."""
        for weight in self.model.trainable_variables:
            if not ops.all(ops.isfinite(weight)):
                self.stop(f"The weights `{weight.path}` became non-finite")
        history = ops.ones((1, self.model.max_length), "int32")
        if not ops.all(ops.isfinite(self.model.score_items({"item_ids": history})[:, 1:])):
            self.stop("The scores became non-finite")

    def stop(self, what: str) -> NoReturn:
        """Raises the error, which says what is left of the run."""
        kept = ""
        if self.checkpoint is not None:
            kept = " No epoch was finished before, so there is no model."
            if self.checkpoint.is_file():
                kept = f" {self.checkpoint} keeps the best epoch before."
        rate = float(self.model.optimizer.learning_rate)
        raise NonFiniteLossError(
            f"{what} at training step {self.steps}.{kept} A learning_rate below {rate:g} may help."
        )


class WarnOnPosteriorCollapse(keras.callbacks.Callback):
    """Warns once when the KL per dimension says that the latent no longer depends on the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.warned = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the epoch's mean `kl_per_dim`; where the KL has no weight, it cannot be what is wrong."""
        kl = (logs or {}).get("kl_per_dim", math.inf)
        if kl < COLLAPSED_KL and (logs or {}).get("kl_weight") != 0 and not self.warned:
            self.warned = True
            warnings.warn(
                f"KL per dimension is {kl:.2g} nats, below {COLLAPSED_KL}: the posterior has collapsed. "
                "Lower kl_weight or raise kl_warmup_steps.",
                stacklevel=2,
            )


class EpochLines(keras.callbacks.Callback):
    """A progress bar within each epoch and one line after it; a context, so that no bar outlives it.

    Args:
        console: where to; the bar shows on a terminal only.
        epochs: how many there are at most.
        best: the validation NDCG@10 so far.
    """

    def __init__(self, console: Console, epochs: int, best: float = -math.inf) -> None:
        super().__init__()
        self.console, self.epochs, self.best = console, epochs, best
        self.bar = Progress(disable=True)

    def __enter__(self) -> "EpochLines":
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the terminal its cursor back, however training ended."""
        self.bar.stop()

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts the bar."""
        loss = TextColumn("loss {task.fields[loss]}")
        columns = (TextColumn("epoch {task.fields[epoch]}"), BarColumn(), loss, TimeRemainingColumn())
        hidden = not self.console.is_terminal
        self.bar = Progress(*columns, console=self.console, transient=True, disable=hidden)
        self.task = self.bar.add_task("", total=self.params.get("steps"), epoch=epoch + 1, loss="-")
        self.bar.start()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Moves the bar."""
        self.bar.update(self.task, advance=1, loss=f"{float((logs or {}).get('loss', 0)):.4f}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Replaces the bar by the epoch's line."""
        self.bar.stop()
        logs = logs or {}
        ndcg = logs.get("val_ndcg@10", math.nan)
        mark = " best so far" if ndcg > self.best else ""
        self.best = max(self.best, ndcg)
        self.console.print(
            f"epoch {epoch + 1:3d}/{self.epochs}  loss {logs.get('loss', math.nan):8.4f}  valid "
            f"HR@10 {logs.get('val_hr@10', math.nan):.4f} NDCG@10 {ndcg:.4f}{mark}",
            highlight=False,
            soft_wrap=True,
        )
