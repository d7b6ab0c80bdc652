"""A worker: runs the trials that a chief hands out, until there are no more."""

import json
from pathlib import Path
from typing import Any

import grpc
import keras_tuner
from rich.console import Console

from metasgcl_tf.config import build_config
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError, require
from metasgcl_tf.training import load_log
from metasgcl_tf.tuning.oracles import TOLD
from metasgcl_tf.tuning.runner import TrialRunner
from metasgcl_tf.tuning.search import Search


def work(folder: Path, data: str | None, lost_after: float, console: Console) -> int:
    """Runs trials until the chief has no more; it tells everything but where the log is on this machine.

    Args:
        folder: for what Hyperband goes on with.
        data: name or path of the log; by default as the chief has it.
        lost_after: as the chief has it.
        console: where progress goes.

    Returns:
        How many trials this worker ran.

    Raises:
        InputError: the chief does not answer, or the log is not the chief's.
    """
    runner, ran = TrialRunner(keras_tuner.Oracle(), folder, lost_after), []

    def show(line: str) -> None:
        if ran[-1:] != [name := line.partition(":")[0]]:
            ran.append(name)
            console.print(f"Runs {name}.", highlight=False, markup=False, soft_wrap=True)

    runner.show = show
    try:
        told = json.loads(runner.oracle.get_space()[TOLD])
        runner.search_made = Search.from_dict(told)
        own = {} if data is None else {"data": data}
        split = leave_one_out(load_log(build_config(told["config"] | own)))
        check_counts(split.counts(), told["counts"])
        runner.split = split
        runner.search()
    except grpc.RpcError as error:
        raise InputError(f"`chief` should answer. Received: {error.code().name}.") from None
    return len(ran)


def check_counts(counts: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises an `InputError` where the log here is not the chief's."""
    for name, number in wanted.items():
        rule = f"the log that the chief has, with {number:,} {name}"
        require(counts.get(name) == number, "data", rule, f"{counts.get(name):,} {name}")
