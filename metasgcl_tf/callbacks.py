"""Keras callbacks of a training run: guards and progress."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from metasgcl_tf.errors import NonFiniteLossError

# Below this, in nats per dimension, the posterior says nothing about the sequence any more.
COLLAPSED_KL = 0.001


class StopOnNonFinite(keras.callbacks.Callback):
    """Raises `NonFiniteLossError` at the first step where a term of the loss is NaN or infinite.

    Args:
        terms: names in the training logs, in the order they are blamed: parts before their sum.
        advice: ends the message.
    """

    def __init__(self, terms: Sequence[str], advice: str = "") -> None:
        super().__init__()
        self.terms, self.advice = terms, advice
        self.steps = 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the running means of the epoch, in which a NaN stays."""
        self.steps += 1
        for name in self.terms:
            value = float((logs or {}).get(name, 0.0))
            if not math.isfinite(value):
                raise NonFiniteLossError(
                    f"`{name}` became {value} at training step {self.steps}. {self.advice}"
                )


class WarnOnPosteriorCollapse(keras.callbacks.Callback):
    """Warns once when the KL per dimension says that the latent no longer depends on the sequence."""

    def __init__(self) -> None:
        super().__init__()
        self.warned = False

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Looks at the epoch's mean `kl_per_dim`."""
        kl = (logs or {}).get("kl_per_dim", math.inf)
        if kl < COLLAPSED_KL and not self.warned:
            self.warned = True
            warnings.warn(
                f"KL per dimension is {kl:.2g} nats, below {COLLAPSED_KL}: the posterior has collapsed. "
                "Lower kl_weight or raise kl_warmup_steps.",
                stacklevel=2,
            )


class EpochLines(keras.callbacks.Callback):
    """A progress bar within each epoch and one line after it.

    Args:
        console: where to; the bar shows on a terminal only.
    """

    def __init__(self, console: Console) -> None:
        super().__init__()
        self.console = console
        self.best = -math.inf

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
            f"epoch {epoch + 1:3d}/{self.params['epochs']}  loss {logs.get('loss', math.nan):8.4f}  valid "
            f"HR@10 {logs.get('val_hr@10', math.nan):.4f} NDCG@10 {ndcg:.4f}{mark}",
            highlight=False,
        )

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves no bar behind."""
        self.bar.stop()
