"""Training that was cut short goes on to the weights and numbers it would have reached."""

import io
import itertools
import os
import signal

import keras
import numpy as np
import polars as pl
import pytest
from rich.console import Console

from metasgcl_tf import checkpoints, cli, fitting
from metasgcl_tf.config import build_config
from metasgcl_tf.data import pipelines
from metasgcl_tf.errors import InputError, TrainingError
from metasgcl_tf.files import held
from metasgcl_tf.interruption import InterruptedTraining
from metasgcl_tf.mixing import mix_run
from metasgcl_tf.models import MetaSGCL
from metasgcl_tf.run_folder import load_run, read_metrics, start
from metasgcl_tf.training import resume, train
from metasgcl_tf.updating import update
from tests.killing import Killed, kill_after

pytestmark = pytest.mark.usefixtures("no_baselines")

# 9 steps an epoch: 36 users with 3 windows each.
SMALL = {
    **{"hidden_dim": 8, "num_layers": 1, "max_length": 8, "dropout": 0.2, "learning_rate": 0.01},
    **{"batch_size": 12, "epochs": 3, "checkpoint_steps": 2, "cosine_decay": True, "model": "sasrec"},
}


@pytest.fixture(scope="module")
def config(cyclic_log, request):
    """Of SASRec, or of the model that a test names."""
    return build_config(SMALL | {"data": str(cyclic_log)} | getattr(request, "param", {}))


@pytest.fixture(scope="module")
def whole(config, tmp_path_factory):
    """The run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "run"
    train(config, out)
    return out


def state(model):
    return model.weights + (model.optimizer.variables if model.compiled else [])


def assert_same_run(one, other):
    for part in ("valid", "test"):
        assert read_metrics(one)[part] == read_metrics(other)[part]
    assert (one / "history.csv").read_text() == (other / "history.csv").read_text()
    states = (state(load_run(folder).model) for folder in (one, other))
    for first, second in zip(*states, strict=True):
        np.testing.assert_array_equal(keras.ops.convert_to_numpy(first), keras.ops.convert_to_numpy(second))


@pytest.mark.parametrize(
    "config", [{}, pytest.param({"model": "meta_sgcl"}, marks=pytest.mark.reliability)], indirect=True
)
@pytest.mark.parametrize(
    ("kills", "kept"), [(1, (0, 4, 4)), pytest.param(2, (1, 0, 9), marks=pytest.mark.reliability)]
)
def test_a_killed_training_goes_on_to_the_same_end(whole, config, tmp_path, monkeypatch, kills, kept):
    """Killed between two checkpoints, the second time right after an epoch."""
    run = tmp_path / "run"
    monkeypatch.setattr("sys.argv", ["metasgcl", "train", "first"])
    for begin in (lambda: train(config, run), lambda: resume(run))[:kills]:
        with monkeypatch.context() as patched:
            kill_after(5, patched)
            with pytest.raises(Killed):
                begin()
        monkeypatch.setattr("sys.argv", ["metasgcl", "train", "--resume", "run"])
    found = checkpoints.newest(run / "checkpoints").notes
    assert (found["epoch"], found["batch"], found["step"]) == kept
    report = resume(run)
    assert_same_run(whole, run)
    assert report == read_metrics(run)
    assert report["command"].endswith("train first")
    assert report["seconds"] > found["seconds"] > 0
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == sorted(
        path.name for path in whole.iterdir()
    )


@pytest.mark.reliability
@pytest.mark.parametrize("hybrid", [False, True])
def test_a_training_that_was_over_is_not_prolonged(config, tmp_path, monkeypatch, hybrid):
    more = {"patience": 1, "learning_rate": 1e-9, "epochs": 9, "hybrid": hybrid}
    stopping = build_config(config.flat(), more)
    train(stopping, tmp_path / "whole")
    epochs = len(pl.read_csv(tmp_path / "whole" / "history.csv"))
    assert epochs < 9
    with monkeypatch.context() as patched:
        patched.setattr("metasgcl_tf.training.write_report", lambda *_, **__: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            train(stopping, tmp_path / "run")
    resume(tmp_path / "run")
    assert_same_run(tmp_path / "whole", tmp_path / "run")


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGTERM, 143), pytest.param(signal.SIGINT, 130, marks=pytest.mark.reliability)],
)
def test_signals_leave_a_checkpoint_of_that_moment(config, number, code, tmp_path, monkeypatch, capsys):
    steps = itertools.count(1)

    def on_train_batch_begin(self, batch, logs=None):
        if next(steps) == 5:
            os.kill(os.getpid(), number)

    before = signal.getsignal(number)
    with monkeypatch.context() as patched:
        patched.setattr(fitting.KeepCheckpoints, "on_train_batch_begin", on_train_batch_begin, raising=False)
        settings = [f"{key}={value}" for key, value in SMALL.items()]
        arguments = ["train", "--data", config.data.data, "--out", str(tmp_path / "run"), "--set", *settings]
        assert cli.main(arguments) == code
    assert (
        f"interrupted after step 5; `metasgcl train --resume {tmp_path / 'run'}`" in capsys.readouterr().err
    )
    assert checkpoints.newest(tmp_path / "run" / "checkpoints").notes["step"] == 5
    assert signal.getsignal(number) is before


@pytest.mark.reliability
def test_a_signal_after_an_epoch_stops_there(config, tmp_path):
    class Signal(io.StringIO):
        def write(self, text):
            if text.startswith("epoch   1"):
                os.kill(os.getpid(), signal.SIGTERM)
            return super().write(text)

    with pytest.raises(InterruptedTraining, match="after step 9;") as stopped:
        train(config, tmp_path / "run", console=Console(file=Signal()))
    assert stopped.value.signal == signal.SIGTERM
    assert len(pl.read_csv(tmp_path / "run" / "history.csv")) == 1


@pytest.fixture
def small_model():
    model = MetaSGCL(5, 2, hidden_dim=2, num_layers=1, num_heads=1)
    model.compile()
    return model


def test_the_newest_are_kept_and_restored(small_model, tmp_path):
    for step in range(5):
        small_model.optimizer.main.iterations.assign(step)
        checkpoints.save(tmp_path, step, small_model, {"step": step})
    assert [path.name for path in checkpoints.files(tmp_path)] == [f"{n:012d}.npz" for n in (4, 3, 2)]
    small_model.set_weights([0 * weight for weight in small_model.get_weights()])
    found = checkpoints.newest(tmp_path)
    checkpoints.restore(small_model, found.arrays)
    assert found.notes == {"step": 4} and int(small_model.optimizer.iterations) == 4
    assert any(weight.any() for weight in small_model.get_weights())


def test_a_checkpoint_cut_or_changed_anywhere_is_not_taken_for_one(small_model, tmp_path):
    checkpoints.save(tmp_path, 1, small_model, {"step": 1})
    path = tmp_path / f"{1:012d}.npz"
    content = path.read_bytes()
    for length in range(0, len(content), 10):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="its checksum is wrong"):
            checkpoints.read(path)
    for place in range(0, len(content), 101):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ValueError, match="its checksum is wrong"):
            checkpoints.read(path)
    path.write_bytes(content)
    assert checkpoints.read(path).notes == {"step": 1}


def test_what_cannot_be_read_is_passed_over_with_a_warning(small_model, tmp_path):
    checkpoints.save(tmp_path, 1, small_model, {"step": 1})
    (tmp_path / f"{2:012d}.npz").mkdir()
    (tmp_path / f"{3:012d}.npz").write_bytes(b"PK")
    with pytest.warns(UserWarning) as told:
        assert checkpoints.newest(tmp_path).notes == {"step": 1}
    assert ["checksum is wrong" in str(told[0].message), "Is a directory" in str(told[1].message)] == [
        True
    ] * 2


@pytest.mark.reliability
def test_training_goes_on_from_the_one_before_a_torn_one(whole, config, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_after(14, patched)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    newest = checkpoints.files(tmp_path / "run" / "checkpoints")[0]
    newest.write_bytes(newest.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="cannot be read"):
        resume(tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.reliability
def test_training_begins_anew_where_every_checkpoint_is_torn(whole, config, tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        kill_after(14, patched)
        with pytest.raises(Killed):
            train(config, tmp_path / "run")
    for path in checkpoints.files(tmp_path / "run" / "checkpoints"):
        path.write_bytes(b"")
    with pytest.warns(UserWarning, match="cannot be read"):
        resume(tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")


def test_a_checkpoint_of_another_model_is_refused(small_model, tmp_path):
    checkpoints.save(tmp_path, 1, small_model, {})
    other = MetaSGCL(6, 2, hidden_dim=2, num_layers=1, num_heads=1)
    other.compile()
    with pytest.raises(InputError, match="`resume` should continue a training of this version"):
        checkpoints.restore(other, checkpoints.newest(tmp_path).arrays)


@pytest.mark.reliability
def test_a_full_disk_costs_a_warning_only(whole, config, tmp_path, monkeypatch):
    saved, save = itertools.count(), checkpoints.save

    def sometimes_full(*arguments):
        if next(saved) % 2:
            raise OSError(28, os.strerror(28))
        save(*arguments)

    monkeypatch.setattr(checkpoints, "save", sometimes_full)
    with pytest.warns(UserWarning, match=r"No checkpoint of step 4 .*No space left.* training goes on"):
        train(config, tmp_path / "run")
    assert_same_run(whole, tmp_path / "run")


@pytest.mark.reliability
def test_a_broken_pipeline_is_one_line_and_leaves_the_checkpoints(config, tmp_path, monkeypatch, capsys):
    plan = pipelines.epoch_plan

    def breaks(lengths, buckets, batch_size, seed, epoch, *more):
        if epoch == 1:
            raise RuntimeError("the disk of the log is gone")
        return plan(lengths, buckets, batch_size, seed, epoch, *more)

    with monkeypatch.context() as patched:
        patched.setattr(pipelines, "epoch_plan", breaks)
        with pytest.raises(TrainingError, match=r"Training stopped: .*the disk of the log is gone"):
            train(config, tmp_path / "run")
        assert cli.main(["train", "--resume", str(tmp_path / "run")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("metasgcl: error: Training stopped") and error.count("\n") == 1
    assert checkpoints.newest(tmp_path / "run" / "checkpoints").notes["epoch"] == 1


def test_one_process_trains_in_a_folder(config, tmp_path):
    with held(tmp_path / "run", "trains"), pytest.raises(InputError, match="no other process trains"):
        train(config, tmp_path / "run")


def test_an_update_or_a_mixture_keeps_out_of_a_folder_that_is_trained(whole, counted_run, tmp_path):
    (tmp_path / "later.csv").write_text("user,item\n99,1\n")
    with held(tmp_path / "run", "trains"):
        with pytest.raises(InputError, match="no other process trains"):
            update(counted_run, tmp_path / "later.csv", tmp_path / "run")
        with pytest.raises(InputError, match="no other process trains"):
            mix_run(whole, tmp_path / "run")
    assert not list((tmp_path / "run").iterdir())


def test_an_update_or_a_mixture_that_was_cut_short_is_not_resumed_as_a_training(whole, tmp_path):
    run = load_run(whole)
    start(tmp_path / "run", run.config, run.log)  # what both of them begin with
    with pytest.raises(InputError, match="`resume` should be a training that was cut short; an update or a "):
        resume(tmp_path / "run")


def test_what_cannot_be_resumed(whole, config, tmp_path, capsys):
    assert resume(whole) == read_metrics(whole)  # finished: nothing to do
    for folder in (tmp_path, tmp_path / "missing"):
        with pytest.raises(InputError, match=r"`resume` should be a folder in which training has begun"):
            resume(folder)
    assert cli.main(["train", "--resume", str(whole), "--epochs", "4"]) == 2
    assert "goes alone" in capsys.readouterr().err
