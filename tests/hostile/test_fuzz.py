"""Ten minutes of hostile files: each must give a log or an `InputError`, in time and in bounded memory.

`pytest -m reliability`. METASGCL_FUZZ_SECONDS is how long (600), METASGCL_FUZZ_FIRST the first number (0).
"""

import collections
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.hostile.mutations import hostile_input

SECONDS = float(os.environ.get("METASGCL_FUZZ_SECONDS", 600))
FIRST = int(os.environ.get("METASGCL_FUZZ_FIRST", 0))
PATIENCE = 30  # seconds for one file
FILES_A_WORKER = 5_000
ROOT = Path(__file__).parents[2]


class Worker:
    """The process that reads; a new one after a crash, a hang, or some thousand files."""

    def __init__(self):
        self.start()

    def start(self):
        self.read = 0
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.hostile.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
            env=os.environ | {"POLARS_MAX_THREADS": "2"},
        )

    def stop(self):
        self.process.kill()
        self.process.communicate()

    def ask(self, path, arguments):
        """`(outcome, detail)` of one file."""
        if self.read >= FILES_A_WORKER:
            self.stop()
            self.start()
        self.read += 1
        self.process.stdin.write(json.dumps([str(path), *arguments]) + "\n")
        self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
        answer = self.process.stdout.readline() if ready else ""
        if answer:
            return json.loads(answer)
        detail = f"ended with {self.process.wait()}" if ready else f"silent for {PATIENCE} s"
        self.stop()
        self.start()
        return "other", f"the worker {detail}"


@pytest.fixture
def worker():
    worker = Worker()
    yield worker
    worker.stop()


def last_line(detail):
    return detail.strip().splitlines()[-1][:200]


@pytest.mark.reliability
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the limit of memory needs Linux' /proc")
def test_every_hostile_file_gives_a_log_or_an_input_error(tmp_path, worker, record_property):
    counts, bugs = collections.defaultdict(collections.Counter), {}
    number, end = FIRST, time.monotonic() + SECONDS
    while time.monotonic() < end:
        name, data, arguments = hostile_input(number)
        path = tmp_path / f"log.{name}"
        path.write_bytes(data)
        outcome, detail = worker.ask(path, arguments)
        counts[name][outcome] += 1
        if outcome == "other":
            bug = f"input {number}, {name}, {arguments}: {data!r:.2000}\n{detail}\n"
            print(bug) if last_line(detail) not in bugs else None
            bugs.setdefault(last_line(detail), bug)
        number += 1
    for name, tried in [
        *sorted(counts.items()),
        ("all formats", sum(counts.values(), collections.Counter())),
    ]:
        said = f"{tried.total():,} tried, {tried['log']:,} a log, {tried['refused']:,} refused"
        record_property(f"hostile files, {name}", f"{said}, {tried['other']:,} others")
    assert not bugs, "\n".join(bugs.values())
    assert all(tried["log"] and tried["refused"] for tried in counts.values())
