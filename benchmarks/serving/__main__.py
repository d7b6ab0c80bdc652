"""Exported models measured: `python -m benchmarks.serving --run RUN`, on a quiet machine.

Exports the run in every format and writes `benchmarks/results/serving/serving.json`: whether each artefact
answers 1,000 users as the Keras model does, 10,000 requests of 8 threads to the in-process gRPC service, and
what a vocabulary of 300,000 items costs. `python -m benchmarks.readme` makes of it what docs/serving shows.
"""

import argparse
import concurrent.futures
import dataclasses
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.export import export, write_artefacts
from metasgcl_tf.models import MetaSGCL
from metasgcl_tf.provenance import made_by
from metasgcl_tf.run_folder import Run, load_run
from metasgcl_tf.serving import check, sample
from metasgcl_tf.serving.client import Client
from metasgcl_tf.serving.service import served

RESULT = Path(__file__).parents[1] / "results" / "serving" / "serving.json"
USERS, REQUESTS, THREADS, VOCABULARY = 1000, 10_000, 8, 300_000


def agreement(version: Path, run: Run) -> list[dict[str, Any]]:
    """What `serve-check` says, over more users."""
    sample.write_sample(run, version, sample.K, USERS)
    return check.serve_check(version)


def load_test(version: Path) -> dict[str, Any]:
    """Requests of one user each from several threads: how long, how many failed, what memory grew."""
    histories = pl.read_parquet(version / check.SAMPLE)["history"].to_list()
    milliseconds: list[float] = []

    with served(version, "toys", THREADS) as address, concurrent.futures.ThreadPoolExecutor(THREADS) as pool:
        clients = [Client(address, "toys") for _ in range(THREADS)]

        def ask(number: int) -> bool:
            started = time.perf_counter()
            answer = clients[number % THREADS].ask(history=[histories[number % len(histories)]], k=10)
            milliseconds.append((time.perf_counter() - started) * 1e3)
            return answer["item_ids"].shape == (1, 10)

        list(pool.map(ask, range(REQUESTS)))  # warms up
        warm, megabytes = milliseconds.copy(), [resident_megabytes()]
        milliseconds.clear()
        started = time.perf_counter()
        answered = sum(pool.map(ask, range(REQUESTS)))
        seconds = time.perf_counter() - started
        megabytes.append(resident_megabytes())
    return {
        "requests": REQUESTS,
        "threads": THREADS,
        "answered": answered,
        "requests_per_second": REQUESTS / seconds,
        "milliseconds": dict(
            zip(("p50", "p95", "p99"), np.percentile(milliseconds, [50, 95, 99]), strict=True)
        ),
        "warm_up_p99": float(np.percentile(warm, 99)),
        "megabytes_before_and_after": megabytes,
    }


def resident_megabytes() -> float:
    """What this process holds in memory."""
    (line,) = (
        line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) / 1024


def large_vocabulary(run: Run) -> dict[str, Any]:
    """Seconds to export an untrained Meta-SGCL of many items, and bytes of the graphs."""
    items = pl.Series("item", [f"sku-{number:07d}" for number in range(VOCABULARY)])
    index = np.arange(1, VOCABULARY + 1, dtype=np.int32)
    offsets = np.arange(0, VOCABULARY + 1, 10, dtype=np.int64)
    users = pl.Series("user", range(len(offsets) - 1))
    log = InteractionLog(index, offsets, users, items, {})
    large = dataclasses.replace(run, log=log, model=MetaSGCL(VOCABULARY, max_length=50))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        write_artefacts(large, Path(folder), 100)
        seconds = time.perf_counter() - started
        sizes = {
            part: (Path(folder) / part / "saved_model.pb").stat().st_size for part in ("serving", "core")
        }
    return {"items": VOCABULARY, "seconds": seconds, "saved_model_bytes": sizes}


def main() -> None:
    """Measures and writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", required=True, help="a folder that `metasgcl train` wrote")
    source = parser.parse_args().run
    run = load_run(source, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        version = export(source, Path(folder) / "toys", formats=["onnx", "litert"])
        seconds = time.perf_counter() - started
        found = made_by() | {
            "model": run.model.title,
            "items": run.log.num_items,
            "export_seconds": seconds,
            "agreement": agreement(version, run),
            "load": load_test(version),
            "vocabulary": large_vocabulary(run),
        }
    RESULT.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
