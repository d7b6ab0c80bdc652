"""Tries settings with several seeds at once, for a GPU: `KERAS_BACKEND=jax python -m benchmarks.trials`.

Keras' loop hands an accelerator one step at a time, which for models of this size can take longer than the
step. Here the seeds train side by side, as one model with an axis more, and an epoch is one compiled loop
over batches that are gathered on the device. Each seed learns as `metasgcl train` has it learn, but that
every batch is as long as the model allows and all epochs are trained, whatever the patience. Only validation
items are ranked, since a trial is to choose settings; what is chosen is trained anew.
`python -m benchmarks.probes OUT --verdict TEXT` keeps a trial.
"""

import argparse
import dataclasses
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import keras
import numpy as np
from jax import numpy as jnp

from metasgcl_tf import backend, metrics
from metasgcl_tf.cli import given_options, parse_settings
from metasgcl_tf.comparison_arguments import seeds
from metasgcl_tf.config import RunConfig, build_config
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.splitting import Split, leave_one_out
from metasgcl_tf.data.windows import Windows, all_position_windows, prefix_windows
from metasgcl_tf.errors import require
from metasgcl_tf.fitting import build_optimizer
from metasgcl_tf.models import MODELS, SequentialRecommender
from metasgcl_tf.provenance import made_by
from metasgcl_tf.results import without_folders, without_places
from metasgcl_tf.shared_arguments import add_data, add_model, add_settings
from metasgcl_tf.training import build_model, load_log

State = list[list[jax.Array]]  # values of a model's groups of variables, as Keras' steps take and return them
USERS_AT_ONCE = 256


def trial(config: RunConfig, split: Split, seeds: list[int]) -> Iterator[np.ndarray]:
    """Trains a model of each seed; yields after each epoch what `ranker` found, `[seeds, 2]`.

    Raises:
        InputError: the model learns neither from all positions nor from all prefixes, or there is noise.
    """
    options, kind = config.training, MODELS[config.training.model]
    causal = kind.learns() and kind.training_recipe is pipelines.next_item
    require(causal, "model", "one that is trained on all positions of one causal pass", options.model)
    require(not config.data.noise, "noise", "0: each seed has its own", config.data.noise)
    length = config.model_options["max_length"]
    windows = (prefix_windows if options.every_prefix else all_position_windows)(split, length)
    lengths = windows.end - windows.begin
    batch_size = min(options.batch_size, len(lengths))
    steps = math.ceil(len(lengths) / batch_size)

    models = []
    for seed in seeds:
        of_seed = dataclasses.replace(config, training=dataclasses.replace(options, seed=seed))
        models.append(build_model(of_seed, split))
        models[-1].compile(build_optimizer(of_seed, steps))
    model = models[-1]
    batch_of = gatherer(split, windows, length, steps / windows.num_targets, options.every_prefix)

    def step(state: State, samples: jax.Array) -> tuple[State, None]:
        def of_one(state: State, samples: jax.Array) -> State:
            _, state = model.train_step(state, batch_of(samples))
            return [list(group) for group in state]

        return jax.vmap(of_one)(state, samples), None

    run_epoch = jax.jit(lambda state, plan: jax.lax.scan(step, state, plan)[0], donate_argnums=0)
    rank_one = ranker(model, split)  # gathers the histories, once
    rank = jax.jit(lambda state: jax.lax.map(rank_one, state))
    state = jax.tree.map(lambda *values: jnp.stack(values), *map(values_of, models))
    for epoch in range(options.epochs):
        plans = [pipelines.epoch_plan(lengths, np.array([length]), batch_size, s, epoch) for s in seeds]
        state = run_epoch(state, jnp.asarray(np.stack(plans, axis=1), "int32"))
        yield np.asarray(rank(state))


def values_of(model: SequentialRecommender) -> State:
    """Copies of the values that a step of Keras' takes: a step may be given them to overwrite."""
    groups = (
        *(model.trainable_variables, model.non_trainable_variables),
        *(model.optimizer.variables, model.metrics_variables),
    )
    return [[jnp.array(variable.value) for variable in group] for group in groups]


def newest(items: np.ndarray, begin: Any, end: Any, length: int) -> jax.Array:
    """`items[begin:end]` of each of `[N]` parts of a log, left padded with 0 to `[N, length]`."""
    positions = end[:, None] - length + jnp.arange(length)
    return jnp.where(positions >= begin[:, None], jnp.asarray(items)[jnp.maximum(positions, 0)], 0)


def gatherer(
    split: Split, windows: Windows, length: int, weight: float, newest_only: bool
) -> Callable[[jax.Array], tuple]:
    """A function of `[B]` sample numbers, -1 = none: inputs, targets and weights as `model.fit` has them."""
    items = jnp.asarray(split.log.item_index)
    begin, end, first_target, user = (
        jnp.asarray(values, "int32")
        for values in (windows.begin, windows.end, windows.first_target, windows.user)
    )

    def gather(samples: jax.Array) -> tuple:
        real = samples[:, None] >= 0
        item_ids = jnp.where(real, newest(items, begin[samples], end[samples], length), 0)
        behind = jnp.arange(1 if newest_only else length)[::-1]  # the newest position
        targets_at = end[samples][:, None] - 1 - behind + windows.ahead
        is_target = real & (targets_at >= first_target[samples][:, None])
        targets = jnp.where(is_target, items[jnp.maximum(targets_at, 0)], 0)
        return {"item_ids": item_ids, "user_index": user[samples]}, targets, is_target * jnp.float32(weight)

    return gather


def ranker(model: SequentialRecommender, split: Split) -> Callable[[State], jax.Array]:
    """A function of a model's values: NDCG@10 of the validation items, seen items masked and kept, `[2]`."""
    log, begin, end = split.log, split.train_begin[split.evaluated], split.target_position("valid")
    histories = newest(log.item_index, begin, end, model.max_length)
    seen = newest(log.without_repeats, begin, end, int((end - begin).max()))
    users = histories, seen, jnp.asarray(log.item_index[end]), jnp.asarray(split.evaluated, "int32")

    def rank(state: State) -> jax.Array:
        groups = (model.trainable_variables, model.non_trainable_variables)
        known = [pair for group in zip(groups, state, strict=False) for pair in zip(*group, strict=True)]

        def of_user(user: tuple) -> jax.Array:
            item_ids, seen, target, index = (values[None] for values in user)
            with keras.StatelessScope(state_mapping=known):
                inputs = {"item_ids": item_ids, "seen": seen, "user_index": index}
                ranks = model.target_ranks(inputs, target)
            return metrics.ndcg(jnp.concatenate(ranks), 10)

        return jnp.mean(jax.lax.map(of_user, users, batch_size=USERS_AT_ONCE), axis=0)

    return rank


def main() -> None:
    """Trains, prints each epoch and writes it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.trials", description=__doc__.split("\n")[0])
    add = parser.add_argument
    add_data(parser)
    add_model(parser)
    add_settings(parser)
    add("--seeds", type=seeds, default=[1, 2], metavar="N,N,...", help="trained side by side (default 1,2)")
    add("--out", type=Path, required=True, help="a .json file, written after each epoch")
    arguments = parser.parse_args()
    if backend.NAME != "jax":
        raise SystemExit("It needs KERAS_BACKEND=jax.")
    config = build_config(parse_settings(arguments.set), given_options(arguments))
    flat, made = without_places(config.flat()), made_by()
    made["command"] = without_folders(made["command"])

    figures: list[np.ndarray] = []  # of each epoch, [seeds, 2]
    for found in trial(config, leave_one_out(load_log(config)), arguments.seeds):
        figures.append(found.astype(float))
        masked, kept = np.mean(figures, axis=1).round(6).T.tolist()
        print(f"epoch {len(figures):3}  valid NDCG@10 {masked[-1]:.4f}  seen kept {kept[-1]:.4f}", flush=True)
        report = {
            **{"data": flat["data"], "config": flat, "seeds": arguments.seeds},
            "finished": len(figures) == config.training.epochs,
            **{"valid_ndcg@10": masked, "valid_kept_ndcg@10": kept},
            "by_seed": np.round(figures, 6).tolist(),
        }
        arguments.out.write_text(json.dumps(report | made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
