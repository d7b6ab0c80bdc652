"""Formats that a model or an installation does not have are refused by name, before anything is written."""

import sys

import pytest

from metasgcl_tf.errors import InputError
from metasgcl_tf.export import export
from metasgcl_tf.models import BPRMF
from metasgcl_tf.serving.conversion import convert
from metasgcl_tf.serving.core import Core


def test_a_model_that_a_format_cannot_hold(counted_run, tmp_path):
    with pytest.raises(
        InputError, match=r"`format` onnx cannot hold this model: the tables .* would be inputs"
    ):
        export(counted_run, tmp_path, formats=["onnx"])
    assert not list(tmp_path.iterdir())


def test_an_operation_that_onnx_does_not_have(tmp_path):
    with pytest.raises(InputError, match=r"`format` onnx cannot hold this model: .*MatrixSolve"):
        convert(Core(BPRMF(5, hidden_dim=2), 3), ["onnx"], tmp_path)


def test_what_is_not_installed(counted_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setitem(sys.modules, "metasgcl_tf.serving.warmup", None)
    with pytest.raises(InputError, match=r'onnx needs tf2onnx: pip install "metasgcl-tf\[onnx\]"'):
        export(counted_run, tmp_path, formats=["onnx"])
    with pytest.raises(InputError, match="`format` should be one of onnx, litert"):
        export(counted_run, tmp_path, formats=["tflite"])
    with pytest.warns(UserWarning, match=r'No warm-up requests .* pip install "metasgcl-tf\[serving\]"'):
        version = export(counted_run, tmp_path)
    assert not (version / "assets.extra").exists() and (version / "serving").is_dir()
