"""Times RecBole's own training, full ranking and top-10 on a log; runs in RecBole's own environment."""

import argparse
import contextlib
import io
import json
import logging
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import recbole
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from recbole.utils import get_model, get_trainer, init_seed

WARM_UP = 3
# RecBole's FEARec has no contrastive loss unless `contrast` is set, and no defaults for these three. They are
# those of its authors' own command; everything else is RecBole's default.
OWN_SETTINGS = {"SASRec": {}, "FEARec": {"contrast": "us_x", "tau": 1.0, "sim": "dot"}}


class TimedBatches:
    """Hands a loader's batches to RecBole's training loop until the time is up, and times whole steps."""

    def __init__(self, loader: Iterable[Interaction], seconds: float):
        self.loader, self.seconds = loader, seconds
        self.ends, self.targets = [], []

    def __iter__(self) -> Iterator[Interaction]:
        for batch in self.loader:
            targets = len(batch)  # a row is one history and the one item to predict
            yield batch
            # The loop asks for the next batch, so it is through with this one.
            self.ends.append(time.perf_counter())
            self.targets.append(targets)
            if self.done:
                return

    @property
    def done(self) -> bool:
        """Whether the steps after the warm-up have taken the time they were given."""
        return len(self.ends) > WARM_UP and self.ends[-1] - self.ends[WARM_UP - 1] >= self.seconds

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
    args.out = args.out.absolute()
    del sys.argv[1:]  # RecBole would read them as its own
    logging.disable(logging.WARNING)
    warnings.filterwarnings("ignore")
    torch.set_num_threads(args.settings["threads"])
    with np.load(args.data) as log, tempfile.TemporaryDirectory() as folder:
        write_atomic_file(Path(folder) / "log" / "log.inter", log["items"], log["offsets"])
        # RecBole writes its TensorBoard files to the current folder, and FEARec prints.
        with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
            result = measure(args.settings)
    args.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def write_atomic_file(path: Path, items: np.ndarray, offsets: np.ndarray) -> None:
    """Writes the log as RecBole's atomic file; the time is the place in the history."""
    path.parent.mkdir()
    lengths = np.diff(offsets)
    users = np.repeat(np.arange(1, len(lengths) + 1), lengths)
    times = np.arange(len(items)) - np.repeat(offsets[:-1], lengths)
    table = np.stack([users, items, times], axis=1)
    header = "user_id:token\titem_id:token\ttimestamp:float"
    np.savetxt(path, table, fmt="%d", delimiter="\t", header=header, comments="")


def measure(settings: dict) -> dict:
    """Trains for a while, then ranks; the result is what our own benchmark expects of a peer."""
    config = Config(model=settings["model"], dataset="log", config_dict=config_of(settings))
    init_seed(config["seed"], config["reproducibility"])
    train_data, _, test_data = data_preparation(config, create_dataset(config))
    model = get_model(config["model"])(config, train_data._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    # RecBole imports all its sequential models at once, and one of them (SINE) switches PyTorch's slow search
    # for NaN on for good. RecBole is measured without it unless the settings ask for "detect_anomaly".
    torch.autograd.set_detect_anomaly(settings.get("detect_anomaly", False))
    batches, final_loss = train(trainer, train_data, settings["train_seconds"])
    peak_memory = peak_memory_mb()
    users_per_second = evaluate(trainer, test_data, settings["eval_users"])
    histories = test_data._dataset.inter_feat
    return {
        "name": f"RecBole {settings['model']}",
        "version": recbole.__version__,
        **batches.speed(targets_per_epoch=len(train_data._dataset)),
        "peak_memory_mb": peak_memory,
        "evaluation_users_per_second": users_per_second,
        "top10_ms_1": median_ms(partial(top10, model, histories[:1]), calls=50),
        "top10_ms_256": median_ms(partial(top10, model, histories[:256]), calls=20),
        "final_loss": final_loss,
    }


def config_of(settings: dict) -> dict:
    """RecBole's names of our settings; what is not here is RecBole's default."""
    return {
        "data_path": str(Path.cwd()),
        "checkpoint_dir": "saved",
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "metrics": ["Hit", "NDCG"],
        "topk": [10],
        "valid_metric": "NDCG@10",
        "use_gpu": False,
        "loss_type": "CE",
        "train_neg_sample_args": None,
        "hidden_size": settings["hidden_dim"],
        "inner_size": 4 * settings["hidden_dim"],
        "hidden_act": "gelu",
        "n_layers": settings["num_layers"],
        "n_heads": settings["num_heads"],
        "MAX_ITEM_LIST_LENGTH": settings["max_length"],
        "hidden_dropout_prob": settings["dropout"],
        "attn_dropout_prob": settings["dropout"],
        "train_batch_size": settings["batch_size"],
        "eval_batch_size": settings["batch_size"],  # the default of 4096 takes several times as long on a CPU
        "learning_rate": settings["learning_rate"],
        **OWN_SETTINGS[settings["model"]],
    }


def train(trainer: Trainer, loader: Iterable[Interaction], seconds: float) -> tuple[TimedBatches, float]:
    """Runs the trainer's own epochs, the last one cut short, and returns the counts and the last loss."""
    losses = [torch.tensor(0.0)]

    def loss_of(batch: Interaction) -> torch.Tensor:
        loss = trainer.model.calculate_loss(batch)
        losses[0] = loss.detach()
        return loss

    batches = TimedBatches(loader, seconds)
    epoch = 0
    while not batches.done:
        trainer._train_epoch(batches, epoch, loss_func=loss_of)
        epoch += 1
    return batches, losses[0].item()


def evaluate(trainer: Trainer, test_data: FullSortEvalDataLoader, users: int) -> float:
    """Users per second of the trainer's own full ranking and metrics, for the first `users` of the test."""
    first = test_data._dataset.copy(test_data._dataset.inter_feat[:users])
    loader = FullSortEvalDataLoader(trainer.config, first, test_data._sampler)
    milliseconds = median_ms(partial(trainer.evaluate, loader, load_best_model=False), calls=3)
    return 1000 * len(first) / milliseconds


@torch.no_grad()
def top10(model: torch.nn.Module, histories: Interaction) -> torch.Tensor:
    """The ten best items of each history."""
    return torch.topk(model.full_sort_predict(histories), 10).indices


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
