"""`metasgcl update`: a trained model goes on with new interactions, users and items."""

import time
from pathlib import Path
from typing import Any

import keras
import polars as pl
from rich.console import Console

from metasgcl_tf import run_folder
from metasgcl_tf.config import RunConfig, build_config
from metasgcl_tf.data.appending import appended
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.errors import require, require_known
from metasgcl_tf.evaluation import evaluate, held_out_ranks, report_of
from metasgcl_tf.files import held, save_whole
from metasgcl_tf.fitting import build_optimizer
from metasgcl_tf.models import SequentialRecommender
from metasgcl_tf.models.growing import grown
from metasgcl_tf.optimizers import carry_over
from metasgcl_tf.provenance import made_by
from metasgcl_tf.run_report import write_report
from metasgcl_tf.training import best_of_training, computing_in, load_log

# What an update may set: how the new log is read, and how the training goes on. The rest is the run's.
OF_THE_LOG = ("user_col", "item_col", "time_col", "rating_col", "min_rating")
OF_TRAINING = ("epochs", "patience", "batch_size", "learning_rate", "meta_learning_rate", "seed")
EPOCHS = 5
ADDED = "new: {new_interactions:,} interactions, {new_users:,} users, {new_items:,} items"


def update(
    source: str | Path,
    data: str | Path,
    out: str | Path,
    given: dict[str, Any] | None = None,
    *,
    overwrite: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Goes on with the training of a run on its log and what came after it, and writes a new run folder.

    The new interactions are appended to the histories; k-core is not applied again, so that every new user
    and item counts. The model grows, see `metasgcl_tf.models.growing`, and its optimizer goes on where it
    was. The epoch with the best validation NDCG@10 on the whole log is kept; the model as it has grown is a
    candidate too. Models that only count do so anew.

    Args:
        source: a folder that `metasgcl train` wrote; it stays as it is.
        data: the new log; it should not hold the old one again.
        out: the new run folder.
        given: other settings than the run's, see `configs`.
        overwrite: replace the folder if it exists; otherwise that is an error.
        console: where progress goes; by default nowhere.

    Returns:
        What `metrics.json` holds. Its `update` has the test numbers of old and new items apart, `before`
        the training and `after`.

    Raises:
        InputError: `source` is no run of a model alone, an argument breaks its rule, or the log is unusable.
        NonFiniteLossError: a term of the loss became NaN; `model.keras` keeps the best epoch before.
    """
    started, provenance = time.perf_counter(), made_by()
    source, out, console = Path(source), Path(out), console or Console(quiet=True)
    run = run_folder.load_run(source)
    alone = "that of a model alone (update the run that was mixed, then mix it: `metasgcl hybrid`)"
    require(not run.config.training.hybrid, "run", alone, str(source))
    run_folder.check_apart(out, source, overwrite)
    config, of_new_log = configs(run.config, {"data": str(data)} | (given or {}))
    split = leave_one_out(appended(run.log, load_log(of_new_log)))
    found = {"run": str(source), "data": str(data)} | _added(run.log, split.log)
    console.print(split.describe(), highlight=False, soft_wrap=True)
    console.print(ADDED.format(**found), highlight=False, soft_wrap=True)

    keras.utils.set_random_seed(config.training.seed)
    with computing_in(config):
        model = grown(run.model, config.learned_from(split))
    found["before"] = by_target(model, split, run.log.num_items)
    start = evaluate(model, split, "valid")["masked"]["ndcg@10"]
    console.print(f"as it has grown  valid NDCG@10 {start:.4f}", highlight=False)
    with held(out, "trains"):
        run_folder.start(out, config, split.log)
        if model.learns():
            model.compile(build_optimizer(config, steps_per_epoch=0))  # at a constant rate
            carry_over(run.model.optimizer, model.optimizer)
            save_whole(model, out / run_folder.MODEL)
        model = best_of_training(model, split, config, out, console, start)
        found["after"] = by_target(model, split, run.log.num_items)
        seconds = time.perf_counter() - started
        return write_report(out, model, split, config, provenance, seconds, update=found)


def configs(config: RunConfig, given: dict[str, Any]) -> tuple[RunConfig, RunConfig]:
    """How an update of a run trains, and how it reads the new log.

    It trains as the run did, but for `EPOCHS` epochs and at constant rates: those it began with, where they
    fell along a cosine, since their end would teach new items nothing. (Of the whole rate, a third and a
    tenth, the whole ranked the validation items of toys best, with 5 % of the items new.)

    Args:
        config: of the run.
        given: `data`, the new log; and what differs from the run: keys of `OF_THE_LOG` and `OF_TRAINING`.

    Raises:
        InputError: another key, or a value that is wrong.
    """
    for key in given:
        require_known("set", key, ("data", *OF_THE_LOG, *OF_TRAINING))
    trained = {key: value for key, value in given.items() if key in OF_TRAINING}
    read = {key: value for key, value in given.items() if key not in OF_TRAINING}
    trained = {"epochs": EPOCHS, "cosine_decay": False} | trained
    return build_config(config.flat(), trained), build_config(config.flat(), read, {"k_core": 1})


def _added(before: InteractionLog, after: InteractionLog) -> dict[str, int]:
    sizes = ("num_interactions", "num_users", "num_items")
    return {name.replace("num", "new"): getattr(after, name) - getattr(before, name) for name in sizes}


def by_target(model: SequentialRecommender, split: Split, num_known: int) -> dict[str, dict[str, Any]]:
    """The test numbers of users whose test item is an old one (1..num_known), and of those with a new one.

    Returns:
        `{"old items": {"users": ..., "masked": {...}, "kept": {...}}, "new items": {...}}`; without numbers
        where there is no user.
    """
    ranks = held_out_ranks(model, split, "test")
    is_new = pl.Series(split.log.item_index[split.target_position("test")] > num_known)
    groups = {"old items": ranks.filter(~is_new), "new items": ranks.filter(is_new)}
    return {
        name: {"users": group.height} | (report_of(group) if group.height else {})
        for name, group in groups.items()
    }
