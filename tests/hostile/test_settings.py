"""Anything on a command line or in a configuration: a result, an `InputError`, or exit code 2."""

import argparse
import contextlib
import io
import math

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from metasgcl_tf.arguments import build_parser
from metasgcl_tf.cli import parse_settings
from metasgcl_tf.config import RunConfig, build_config
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import MODELS
from metasgcl_tf.names import settings_of
from metasgcl_tf.tuning_arguments import seconds
from metasgcl_tf.yaml_text import read_config_file

TEXTS = st.text(max_size=20)
YAML_LIKE = st.lists(
    st.sampled_from(
        [*"[]{}:,-?&*!|>'\"%@#= \n\t0159.eExX_", "!!int ", "!!binary ", "<<", "null", "nan", "2024-"]
    ),
    max_size=12,
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.binary(max_size=5) | st.dates(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
KEYS = sorted(set().union(*(build_config({"model": model}).flat() for model in MODELS)))


def is_one_short_line(error):
    return len(str(error).splitlines()) == 1 and len(str(error)) < 2000


def result_or_refusal(call, *arguments):
    try:
        return call(*arguments)
    except InputError as error:
        assert is_one_short_line(error)
        return None


@settings(max_examples=60)
@given(text=YAML_LIKE | TEXTS)
@example("[" * 2000)
@example("9" * 5000)
@example("2024-13-01")
@example("!!bool x")
@example("!!timestamp x")
@example("!!int")
def test_any_setting_is_read_or_refused(tmp_path, text):
    result_or_refusal(parse_settings, [text])
    result_or_refusal(parse_settings, [f"key={text}"])
    (tmp_path / "config.yaml").write_text(text, encoding="utf-8", errors="replace")
    result_or_refusal(read_config_file, tmp_path / "config.yaml")


@settings(max_examples=60)
@given(given_values=st.dictionaries(st.sampled_from(KEYS) | TEXTS, VALUES, max_size=3))
def test_any_keys_and_values_are_a_configuration_or_refused(given_values):
    config = result_or_refusal(build_config, given_values)
    if config is not None:
        assert isinstance(config, RunConfig)
        assert build_config(yaml.safe_load(yaml.safe_dump(config.flat()))) == config  # as a run folder has it


HUGE = [0xF << 20_000, -(0xF << 20_000), 10**30, -(2**63) - 1, float("nan"), "\0", "\ud800", [[[]]], ...]


@pytest.mark.parametrize("key", KEYS)
def test_values_that_nothing_can_hold_are_refused_for_every_key(key):
    model = next(name for name in MODELS if key in build_config({"model": name}).flat())
    for value in HUGE:
        config = result_or_refusal(build_config, {"model": model, key: value})
        assert config is None or isinstance(config.flat()[key], str | float)


@given(name=TEXTS | st.sampled_from(["hybrid:", "hybrid:hybrid:pop", "meta_sgcl:", ":", "pop:no_cl"]))
def test_any_name_of_a_model_is_known_or_refused(name):
    result_or_refusal(settings_of, name)


OPTIONS = {
    "train": ["--seed", "--k-core", "--min-rating", "--epochs", "--max-length", "--set", "--data"],
    "compare": ["--seeds", "--models", "--k-core", "--out"],
    "tune": ["--max-time", "--trials", "--lost-after", "--over", "--tuner", "--seed"],
    "recommend": ["--k", "--history", "--user"],
    "export": ["--core-k", "--format"],
    "models": ["--preset"],
}
NUMBER_LIKE = st.lists(st.sampled_from([*"0123456789.,+-_eEhms ", "nan", "inf", "٣", "\n"]), max_size=8).map(
    "".join
)


@pytest.mark.parametrize("command", OPTIONS)
@given(data=st.data())
def test_any_argument_is_parsed_or_ends_in_one_line_and_exit_code_2(command, data):
    option = st.tuples(st.sampled_from(OPTIONS[command]), NUMBER_LIKE | TEXTS)
    given_options = data.draw(st.lists(option, max_size=3))
    arguments = [command, *(part for pair in given_options for part in pair)]
    stderr = io.StringIO()
    with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(io.StringIO()):
        try:
            build_parser().parse_args(arguments)
        except SystemExit as end:
            assert end.code == 2 or "-h" in "".join(arguments)
            assert end.code == 0 or len(stderr.getvalue().splitlines()) == 1


@given(text=NUMBER_LIKE | TEXTS)
@example("9" * 400 + "h")
@example(".h")
@example("1.2.3m")
def test_a_time_is_a_number_of_seconds_or_no_time(text):
    try:
        assert math.isfinite(seconds(text)) and seconds(text) >= 0
    except argparse.ArgumentTypeError as error:
        assert "is no time such as" in str(error)
