"""Times RecTools' own training, ranking and top-10 on a log; runs in RecTools' own environment."""

import argparse
import contextlib
import json
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import rectools
import torch
from pytorch_lightning import Callback, LightningModule, Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

WARM_UP = 3


class StepTimer(Callback):
    """Times the trainer's whole steps, data loading included, and stops it when the time is up."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.ends, self.targets = [], []
        self.loss = 0.0

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: dict, batch: dict, batch_idx: int
    ) -> None:
        """Called after every optimizer step."""
        self.ends.append(time.perf_counter())
        self.targets.append(int(torch.count_nonzero(batch["y"])))  # 0 is padding
        self.loss = float(outputs["loss"])
        late = len(self.ends) > WARM_UP and self.ends[-1] - self.ends[WARM_UP - 1] >= self.seconds
        trainer.should_stop = late

    def speed(self, targets_per_epoch: int) -> dict:
        """The part of the result about training; a step lasts from the end of the one before to its own."""
        durations = np.diff(self.ends[WARM_UP - 1 :])
        targets_per_second = sum(self.targets[WARM_UP:]) / durations.sum()
        return {
            "targets_per_second": targets_per_second,
            "targets_per_epoch": targets_per_epoch,
            "seconds_per_epoch": targets_per_epoch / targets_per_second,
            "steps_timed": len(durations),
            "median_step_seconds": np.median(durations),  # to see whether the machine stood still meanwhile
        }


def main() -> None:
    """Reads the command line, measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--settings", type=json.loads, required=True)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    out = args.out.absolute()
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.settings["threads"])
    with np.load(args.data) as log:
        items, offsets = log["items"], log["offsets"]
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        result = measure(items, offsets, args.settings)
    out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(items: np.ndarray, offsets: np.ndarray, settings: dict) -> dict:
    """Trains for a while, then ranks; the result is what our own benchmark expects of a peer."""
    if settings["model"] != "SASRec":
        raise SystemExit(f"RecTools is measured with SASRec only. Received: {settings['model']}.")
    torch.manual_seed(1)
    model = build(settings)
    model.fit(dataset_of(items, offsets, held_out=2))  # the last two are for validation and test
    timer = next(found for found in model.fit_trainer.callbacks if isinstance(found, StepTimer))
    peak_memory = peak_memory_mb()
    # A user's first item is no target; what RecTools cut off of long histories is not in its data set.
    train_part = model.data_preparator.train_dataset
    targets_per_epoch = len(train_part.interactions.df) - train_part.user_id_map.size
    known = dataset_of(items, offsets, held_out=1)
    top10_of = partial(model.recommend, dataset=known, k=10, filter_viewed=True)
    users = np.arange(min(settings["eval_users"], len(offsets) - 1))
    milliseconds = median_ms(partial(top10_of, users), calls=3)
    return {
        "name": "RecTools SASRec",
        "version": rectools.__version__,
        **timer.speed(targets_per_epoch),
        "peak_memory_mb": peak_memory,
        "evaluation_users_per_second": 1000 * len(users) / milliseconds,
        "top10_ms_1": median_ms(partial(top10_of, users[:1]), calls=10),
        "top10_ms_256": median_ms(partial(top10_of, users[:256]), calls=10),
        "final_loss": timer.loss,
    }


def dataset_of(items: np.ndarray, offsets: np.ndarray, held_out: int) -> Dataset:
    """RecTools' data set of the log without each user's last `held_out`; the time is the place in it."""
    lengths = np.diff(offsets)
    place = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    kept = place < np.repeat(lengths - held_out, lengths)
    table = {
        "user_id": np.repeat(np.arange(len(lengths)), lengths)[kept],
        "item_id": items[kept],
        "weight": 1.0,
        "datetime": pd.to_datetime(place[kept], unit="s"),
    }
    return Dataset.construct(pd.DataFrame(table))


def build(settings: dict) -> SASRecModel:
    """RecTools' SASRec with the trainer it makes by itself, except for the end and the timer."""
    return SASRecModel(
        n_factors=settings["hidden_dim"],
        n_blocks=settings["num_layers"],
        n_heads=settings["num_heads"],
        session_max_len=settings["max_length"],
        batch_size=settings["batch_size"],
        dropout_rate=settings["dropout"],
        lr=settings["learning_rate"],
        loss="softmax",
        dataloader_num_workers=0,
        deterministic=False,
        verbose=0,
        recommend_torch_device="cpu",
        get_trainer_func=endless_trainer,
        get_trainer_func_kwargs={"seconds": settings["train_seconds"]},
    )


def endless_trainer(seconds: float) -> Trainer:
    """A quiet trainer on the CPU that writes nothing and stops in the middle of an epoch."""
    return Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=-1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[StepTimer(seconds)],
    )


def median_ms(call: Callable[[], object], calls: int) -> float:
    """Median milliseconds of a call, after a few for warm-up."""
    times = []
    for _ in range(WARM_UP + calls):
        started = time.perf_counter()
        call()
        times.append(1000 * (time.perf_counter() - started))
    return statistics.median(times[WARM_UP:])


def peak_memory_mb() -> float:
    """The most memory this process has held so far."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


if __name__ == "__main__":
    main()
