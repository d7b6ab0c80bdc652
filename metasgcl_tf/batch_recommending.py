"""Recommendations for every user of a log, written part by part, so that an interruption costs one part."""

import hashlib
import json
import shutil
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

import metasgcl_tf
from metasgcl_tf import backend
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.text_files import read_text, split_lines
from metasgcl_tf.errors import InputError, first_line, require
from metasgcl_tf.recommendation_files import check_out, read_titles, with_titles
from metasgcl_tf.recommending import BATCH, best_next, how_many, user_of, warn_of_unanswered
from metasgcl_tf.run_folder import FILES_THAT_ANSWER, Run, load_run

ALL = "all"
USERS_A_PART = 32 * BATCH
ORDER, UNFINISHED = "order.json", "unfinished"


def recommend_users(
    folder: str | Path,
    out: str | Path,
    users: str = ALL,
    *,
    k: int | None = None,
    exclude_seen: bool = True,
    titles: str | Path | None = None,
    console: Console | None = None,
) -> int:
    """Writes the k best next items of users of the log, each with the whole history.

    The answers and columns are those of `metasgcl_tf.recommending.recommend`, but users keep the type of
    their ids. Finished parts lie in `OUT.parts` until all of them are put together: after an interruption
    the same call goes on with the next part and gives the same file. Parts of another run or of other
    arguments are thrown away. Memory grows with the log, not with the answers.

    Args:
        folder: a run folder.
        out: the file, .parquet or .csv; an existing one is replaced once everything is there.
        users: `"all"`, or a file with a user id a line.
        k: how many, 1..V; by default 10, or V where that is less.
        exclude_seen: do not recommend items of the history.
        titles: a file for `read_titles`; adds its column.
        console: where the progress bar goes, if it is a terminal; by default nowhere.

    Returns:
        How many users were answered for.

    Raises:
        InputError: an argument breaks its rule.
    """
    folder, out = Path(folder), Path(out)
    files = {name: folder / name for name in FILES_THAT_ANSWER}
    files |= {} if users == ALL else {"users": Path(users)}
    files |= {} if titles is None else {"titles": Path(titles)}
    check_out(out, list(files.values()))
    run = load_run(folder, compile=False)
    k = how_many(run.log, k)
    require(1 <= k <= run.log.num_items, "k", f"between 1 and the number of items, {run.log.num_items}", k)
    rows, named = rows_of(run.log, users), None if titles is None else read_titles(titles)
    require(len(rows) > 0, "users", f"{ALL} or a file with an id a line, at least one", users)
    order = {"k": k, "exclude_seen": exclude_seen, "users_a_part": USERS_A_PART}
    order |= {"version": metasgcl_tf.__version__, "backend": backend.NAME, "sha256": _digests(files)}
    parts = out.with_name(f"{out.name}.parts")
    _start(parts, json.dumps(order, indent=2))
    paths = _write_parts(parts, run, rows, named, order, console or Console(quiet=True))
    warn_of_unanswered(len(rows) - _put_together(paths, out), len(rows))
    shutil.rmtree(parts)
    return len(rows)


def rows_of(log: InteractionLog, users: str) -> np.ndarray:
    """Rows of the log, `[n]` int64: of `"all"` users, or of those in a file with an id a line."""
    if users == ALL:
        return np.arange(log.num_users)
    lines = (line.strip() for line in split_lines(read_text(Path(users))))
    return np.array([user_of(log, user) for user in dict.fromkeys(lines) if user], np.int64)


def _digests(files: Mapping[str, Path]) -> dict[str, str]:
    digests = {}
    for name, path in files.items():
        with path.open("rb") as file:
            digests[name] = hashlib.file_digest(file, "sha256").hexdigest()
    return digests


def _start(parts: Path, order: str) -> None:
    """Makes the folder of the parts; what is there of another order goes."""
    try:
        parts.mkdir(exist_ok=True)
        found = [path.name for path in parts.iterdir()]
        if found and ORDER not in found:
            raise InputError(f"`out` needs a folder for its parts, {parts}. Received: one of something else.")
        if found and (parts / ORDER).read_text(encoding="utf-8") != order:
            warnings.warn(f"{parts} is of another run or of other options: starting anew.", stacklevel=3)
            shutil.rmtree(parts)
            parts.mkdir()
        (parts / ORDER).write_text(order, encoding="utf-8")
    except OSError as error:
        reason = error.strerror or error
        raise InputError(
            f"`out` should be in a folder that can be written. Received: {parts} ({reason})."
        ) from None


def _write_parts(
    parts: Path,
    run: Run,
    rows: np.ndarray,
    titles: Mapping[str, str] | None,
    order: Mapping[str, Any],
    console: Console,
) -> list[Path]:
    """Writes the parts that are missing; returns all of them."""
    blocks = {
        parts / f"{at:012d}.parquet": rows[at : at + USERS_A_PART] for at in range(0, len(rows), USERS_A_PART)
    }
    columns = ("users", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(rows))
        for path, users in blocks.items():
            if not path.is_file():
                histories = [run.log.history(user) for user in users]
                best = best_next(run.model, run.log, histories, order["k"], order["exclude_seen"], users)
                user = run.log.users.gather(users[best["row"]]).alias("user")
                found = best.select(user, "rank", "item", "score")
                found = found if titles is None else with_titles(found, titles)
                found.write_parquet(parts / UNFINISHED)
                (parts / UNFINISHED).replace(path)
            bar.update(task, advance=len(users))
    return list(blocks)


def _put_together(paths: list[Path], out: Path) -> int:
    """Makes the file of all parts, whole or not at all; returns how many users are in it."""
    whole = paths[0].with_name(UNFINISHED)
    every = pl.scan_parquet(paths, glob=False, hive_partitioning=False)
    try:
        (every.sink_parquet if out.suffix == ".parquet" else every.sink_csv)(whole)
        answered = every.select((pl.col("rank") == 1).sum()).collect(engine="streaming").item()
        whole.replace(out)
    except (pl.exceptions.PolarsError, OSError) as error:
        reason = first_line(error)
        raise InputError(f"`out` should be a file that can be written. Received: {out} ({reason}).") from None
    return answered
