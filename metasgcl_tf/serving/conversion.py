"""`core/` for other runtimes: ONNX and LiteRT."""

import importlib
import logging
from pathlib import Path

import tensorflow as tf

from metasgcl_tf.errors import InputError, require_known
from metasgcl_tf.serving.core import Core

FILES = {"onnx": "core.onnx", "litert": "core.tflite"}
ONNX_OPSET = 18


def check_formats(formats: list[str]) -> None:
    """Raises an `InputError` for a format that is unknown or whose package is missing."""
    for name in formats:
        require_known("format", name, FILES)
    if "onnx" in formats:
        try:
            importlib.import_module("tf2onnx")
        except ImportError:
            raise InputError(
                '`format` onnx needs tf2onnx: pip install "metasgcl-tf[onnx]". Received: onnx.'
            ) from None


def convert(core: Core, formats: list[str], folder: Path) -> None:
    """Writes `core.onnx` and `core.tflite`, as far as they are wanted.

    Raises:
        InputError: the model has an operation that the format does not.
    """
    function = core.signatures()["serving_default"]
    for name in formats:
        try:
            {"onnx": _to_onnx, "litert": _to_litert}[name](core, function, folder / FILES[name])
        except Exception as error:  # converters fail in their own ways
            reason = str(error).strip().partition("\n")[0]
            raise InputError(f"`format` {name} cannot hold this model: {reason:.200}.") from None


def _to_onnx(core: Core, function: tf.types.experimental.PolymorphicFunction, path: Path) -> None:
    import onnx
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    model, _ = tf2onnx.convert.from_function(
        function, input_signature=function.input_signature, opset=ONNX_OPSET, output_path=str(path)
    )
    # A table that is no variable would have to be given with every request.
    if tables := [each.name for each in model.graph.input if each.name != "history"]:
        raise ValueError(f"the tables {', '.join(tables)} would be inputs")
    onnx.checker.check_model(model)  # the converter writes down operations that ONNX does not have


def _to_litert(core: Core, function: tf.types.experimental.PolymorphicFunction, path: Path) -> None:
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function.get_concrete_function()], core)
    path.write_bytes(converter.convert())
