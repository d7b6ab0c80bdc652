"""Fixtures for the whole test suite."""

import fcntl
import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from metasgcl_tf import cli
from metasgcl_tf.data.interactions import InteractionLog
from metasgcl_tf.data.splitting import leave_one_out

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_finish():
    """Spares the tests what only longer runs earn back.

    Python looks for garbage less often, and not among what was imported: tracing a model makes much.
    TensorFlow runs graphs as they were traced; in processes of their own, as commands are, it optimizes them.
    """
    gc.freeze()
    gc.set_threshold(20_000, 10, 10)
    if tf := sys.modules.get("tensorflow"):  # not in the process that hands the tests out
        tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})


def pytest_terminal_summary(terminalreporter):
    """Prints what tests measured (`record_property`), and writes it to the file METASGCL_FIGURES, if set."""
    reports = [report for outcome in ("passed", "failed") for report in terminalreporter.getreports(outcome)]
    figures = dict(pair for report in reports if report.when == "call" for pair in report.user_properties)
    for name, value in figures.items():
        terminalreporter.write_line(f"{name}: {value}")
    if figures and "METASGCL_FIGURES" in os.environ:
        from metasgcl_tf.provenance import made_by

        outcomes = {name: len(terminalreporter.getreports(name)) for name in ("passed", "failed", "skipped")}
        text = json.dumps(made_by() | {"tests": outcomes, "figures": figures}, indent=2)
        Path(os.environ["METASGCL_FIGURES"]).write_text(text + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real interaction logs, METASGCL_DATA; tests that need it skip where it is absent."""
    folder = Path(os.environ.get("METASGCL_DATA", REPOSITORY.parent / "shared" / "data"))
    if not (folder / "toys.txt.gz").is_file():
        pytest.skip(f"no real logs in {folder}; set METASGCL_DATA to a folder that holds toys.txt.gz")
    return folder


@pytest.fixture(scope="session")
def make_split():
    """Builds the split of histories written by hand: one list of item ids 1..V a user, oldest first."""

    def make(histories, num_items=None):
        item_index = np.concatenate(histories).astype(np.int32)
        return leave_one_out(
            InteractionLog(
                item_index=item_index,
                offsets=np.cumsum([0, *map(len, histories)]).astype(np.int64),
                users=pl.Series("user", range(len(histories))),
                items=pl.Series("item", range(1, (num_items or int(item_index.max())) + 1)),
                counts={},
            )
        )

    return make


@pytest.fixture(scope="session")
def made_once(tmp_path_factory) -> Callable[[str, Callable[[Path], Path]], Path]:
    """Has something made by the first of all workers that asks for it: tests only read from it."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent

    def get(name: str, make: Callable[[Path], Path]) -> Path:
        """The path that `make` returns, which is given a new folder."""
        folder, done = root / f"shared-{name}", root / f"shared-{name}.path"
        with (root / f"shared-{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not done.exists():
                folder.mkdir(exist_ok=True)
                done.write_text(str(make(folder)))
        return Path(done.read_text())

    return get


CYCLE = 12


@pytest.fixture(scope="session")
def cyclic_log(made_once):
    """A log anyone can predict: 36 users walk 18 steps around the cycle i0, i1, ..., i11, i0, ..."""

    def make(folder):
        rows = [f"u{user},i{(user + step) % CYCLE},{step}" for user in range(36) for step in range(18)]
        (folder / "cycle.csv").write_text("\n".join(["user_id,item_id,timestamp", *rows]) + "\n")
        return folder / "cycle.csv"

    return made_once("log", make)


@pytest.fixture(scope="session")
def trained_run(cyclic_log, made_once):
    """The folder of a Meta-SGCL run on the cyclic log, written by `metasgcl train`.

    What that printed is in `stdout` and `stderr` beside it.
    """

    def make(folder):
        settings = ["hidden_dim=16", "num_layers=1", "batch_size=6", "learning_rate=0.01", "dropout=0"]
        arguments = ["--max-length", "8", "--epochs", "6", "--out", str(folder / "cycle")]
        command = [Path(sys.executable).with_name("metasgcl"), "train", "--data", cyclic_log, *arguments]
        unset = ("TF_CPP_MIN_LOG_LEVEL", "COLUMNS")  # as in a terminal of a new user
        environment = {key: value for key, value in os.environ.items() if key not in unset}
        done = subprocess.run([*command, "--set", *settings], env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        (folder / "stdout").write_text(done.stdout)
        (folder / "stderr").write_text(done.stderr)
        return folder / "cycle"

    return made_once("run", make)


@pytest.fixture(scope="session")
def run(trained_run):
    """That run, loaded; tests only read from it."""
    from metasgcl_tf.run_folder import load_run

    return load_run(trained_run)


@pytest.fixture(scope="session")
def counted_run(made_once):
    """The folder of an ItemCooccurrence run on the cyclic log with 64-bit ids: item n is 2^53 + 1 + n."""

    def make(folder):
        rows = [f"{user},{2**53 + 1 + (user + step) % CYCLE}" for user in range(36) for step in range(18)]
        (folder / "cycle.csv").write_text("\n".join(["user,item", *rows]) + "\n")
        log, out = str(folder / "cycle.csv"), str(folder / "run")
        forward = ["max_distance=1", "backward_weight=0", "recent_items=1"]
        model = ["--model", "item_cooccurrence", "--max-length", "8", "--set", *forward]
        assert cli.main(["train", "--data", log, *model, "--out", out]) == 0
        return folder / "run"

    return made_once("counted", make)


@pytest.fixture(scope="session")
def exported(trained_run, made_once):
    """The folder of a version of that Meta-SGCL run, in every format."""
    from metasgcl_tf.export import export

    formats = ["onnx", "litert"]
    return made_once(
        "exported", lambda folder: export(trained_run, folder / "cycle", core_k=4, formats=formats)
    )


@pytest.fixture(scope="session")
def endpoints(exported):
    """That version, loaded."""
    from metasgcl_tf.serving import Loaded

    return Loaded(exported)


@pytest.fixture(scope="session")
def counted_version(counted_run, made_once):
    """The folder of a version of that ItemCooccurrence run."""
    from metasgcl_tf.export import export

    return made_once("counted-version", lambda folder: export(counted_run, folder / "counted"))


@pytest.fixture(scope="module")
def no_baselines():
    """Trainings in this process rank nothing beside their model: a third of the time of small ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("metasgcl_tf.run_report.baselines", lambda split, config: {})
        yield


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    """Runs a command in an empty folder, checks that it is refused in one line, and returns the line."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments):
        try:
            code = cli.main([str(argument) for argument in arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        captured = capsys.readouterr()
        assert code == 2
        assert captured.err.count("\n") == 1 and captured.err.endswith("\n")
        assert captured.err.startswith("metasgcl") and ": error: " in captured.err
        assert "Traceback" not in captured.out
        return captured.err

    return run
