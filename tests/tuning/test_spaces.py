"""What is searched, and what is refused before the first trial."""

import keras_tuner
import pytest

from metasgcl_tf.config import build_config
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import MODELS
from metasgcl_tf.presets import PRESETS
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.space_checks import checked_space
from metasgcl_tf.tuning.spaces import RANGES, SEARCHED, build_space, declare


def declared(config, names=None):
    """Name -> kind, range and default, as KerasTuner has them."""
    hp = keras_tuner.HyperParameters()
    declare(checked_space(build_space(config, names), config), config, hp)
    found = {}
    for each in hp.space:
        kept = each.get_config()
        ends = kept.get("values") or (kept["min_value"], kept["max_value"], kept["sampling"])
        found[each.name] = (type(each).__name__, ends, kept["default"])
    return found


def test_the_space_of_meta_sgcl_on_toys():
    options = [
        "num_heads",
        "num_layers",
        "dropout",
        "learning_rate",
        "meta_learning_rate",
        "batch_size",
        "max_length",
    ]
    config = build_config({"data": "toys", "batch_size": 48})
    preset = PRESETS["toys"]["meta_sgcl"]
    assert declared(config) | declared(config, options) == {
        "contrastive_weight": ("Float", (0.003, 0.3, "log"), 0.03),
        "kl_weight": ("Float", (0.001, 0.5, "log"), 0.01),
        "temperature": ("Float", (0.05, 5.0, "log"), 1.0),
        "hidden_dim": ("Choice", [32, 64, 128, 256, 512], preset["hidden_dim"]),
        "num_heads": ("Choice", [1, 2, 4, 8], 2),
        "num_layers": ("Choice", [1, 2, 3, 4], preset["num_layers"]),
        "dropout": ("Float", (0.0, 0.7, "linear"), preset["dropout"]),
        "learning_rate": ("Float", (0.0001, 0.01, "log"), preset["learning_rate"]),
        "meta_learning_rate": ("Float", (0.0001, 0.01, "log"), 0.001),
        "batch_size": ("Choice", [32, 48, 64, 128, 256, 512], 48),  # the user's own, among the others
        "max_length": ("Choice", [20, 50, 100, 200], preset["max_length"]),
    }


def test_every_model_that_learns_has_a_space_that_can_be_searched():
    assert set(SEARCHED) == {name for name, model in MODELS.items() if model.learns()}
    for model in SEARCHED:
        config = build_config({"model": model, "preset": "toys"})
        Search(config, build_space(config)).checked()
        everything = [name for name in RANGES if name in config.flat()]
        Search(config, build_space(config, everything)).checked()


def test_a_range_is_wide_enough_for_what_the_user_set():
    config = build_config({"temperature": 9, "hidden_dim": 100, "kl_weight": 0.0001})
    found = declared(config)
    assert found["temperature"] == ("Float", (0.05, 9.0, "log"), 9.0)
    assert found["hidden_dim"] == ("Choice", [32, 64, 100, 128, 256, 512], 100)
    assert found["kl_weight"] == ("Float", (0.0001, 0.5, "log"), 0.0001)


def test_what_a_variant_fixes_is_not_searched():
    space = build_space(build_config({"variant": "no_cl"}))
    assert list(space) == ["kl_weight", "temperature", "hidden_dim"]


def test_a_file_is_a_space(tmp_path):
    path = tmp_path / "space.yaml"
    path.write_text(
        "temperature: {min: 1e-1, max: 2, scale: log}\nnum_layers: {min: 1, max: 6}\n"
        "similarity: [dot, cosine]\nnorm_first: [true, false]\nkl_weight:\n"
    )
    config = build_config({"num_layers": 2, "kl_weight": 0.01})
    space = checked_space(build_space(config, file=path), config)
    assert space == {
        "temperature": {"min": 0.1, "max": 2.0, "scale": "log"},
        "num_layers": {"min": 1, "max": 6},
        "similarity": ["dot", "cosine"],
        "norm_first": [True, False],
        "kl_weight": RANGES["kl_weight"],
    }
    hp = keras_tuner.HyperParameters()
    declare(space, config, hp)
    assert hp.values == {
        "temperature": 1.0,
        "num_layers": 2,
        "similarity": "dot",
        "norm_first": False,
        "kl_weight": 0.01,
    }


BAD = {
    "dropuot: [0.1, 0.2]": ["`space`", "did you mean 'dropout'"],
    "epochs: [3, 4]": ["`space`", "'epochs'"],
    "seed: [1, 2]": ["`space`", "'seed'"],
    "similarity:": ["`similarity`", "--space FILE"],
    "- dropout": ["`--space`", "a list"],
    "{}": ["`space`", "at least one"],
    "dropout: 0.5": ["`dropout`", "a range such as {min", "= 0.5"],
    "dropout: {min: 0}": ["`dropout`", "max"],
    "dropout: {min: 0, max: 0.5, log: true}": ["`dropout`", "min, max, scale, step alone"],
    "dropout: {min: 0.5, max: 0.1}": ["`dropout`", "below its max"],
    "dropout: {min: 0, max: 0.5, scale: log}": ["`dropout`", "above 0 on a log scale"],
    "dropout: {min: 0, max: 0.5, scale: cubic}": ["`dropout`", "linear or log", "cubic"],
    "dropout: {min: 0, max: 1}": ["`dropout`", "below 1", "= 1.0"],
    "dropout: {min: 0.5, max: 0.9}": ["`dropout`", "around 0.2", "0.5 to 0.9"],
    "dropout: {min: low, max: 0.9}": ["`dropout`", "'low'"],
    "dropout: [0.1]": ["`dropout`", "two or more"],
    "dropout: [0.2, 0.20]": ["`dropout`", "different"],
    "dropout: [0.1, 0.3]": ["`dropout`", "with 0.2"],
    "num_layers: {min: 1, max: 2.5}": ["`num_layers`", "2.5"],
    "num_layers: {min: 1, max: 3, step: 0.5}": ["`num_layers`", "step"],
    "hidden_dim: {min: 32, max: 128}": ["`hidden_dim`", "multiple of num_heads = 2", "= 33"],
    "{hidden_dim: [64, 66], num_heads: [2, 4]}": ["`hidden_dim`", "multiple of num_heads = 4", "= 66"],
    "similarity: {min: 1, max: 2}": ["`similarity`", "a list of values"],
    "negative_sampling: [null, uniform]": ["`negative_sampling`", "null"],
}


@pytest.mark.parametrize("text", BAD)
def test_a_bad_space_is_refused(tmp_path, text):
    path = tmp_path / "space.yaml"
    path.write_text(text)
    config = build_config({"dropout": 0.2})
    with pytest.raises(InputError) as error:
        checked_space(build_space(config, file=path), config)
    assert all(part in str(error.value) for part in BAD[text]) and "\n" not in str(error.value)


def test_a_default_of_zero_is_refused_on_a_log_scale():
    config = build_config({"kl_weight": 0})
    with pytest.raises(InputError, match=r"`kl_weight`.*around 0\.0"):
        checked_space(build_space(config), config)


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        ({"tuner": "baysian"}, ["`tuner`", "did you mean 'bayesian'"]),
        ({"objective": "test_ndcg@10"}, ["`objective`", "nothing is chosen on test items"]),
        ({"objective": "ndcg@10"}, ["`objective`", "validation"]),
        ({"objective": "val_ndcg@11"}, ["`objective`", "did you mean 'val_ndcg@10'"]),
        ({"epochs": 0}, ["`epochs`", "at least 1"]),
        ({"settings": {"model": "pop"}, "space": "built in"}, ["`model`", "trained", "'pop'"]),
    ],
)
def test_a_bad_search_is_refused(make_search, options, parts):
    with pytest.raises(InputError) as error:
        make_search(**options)
    assert all(part in str(error.value) for part in parts)


def test_a_trial_differs_in_its_values_seed_and_budget_alone(make_search):
    search = make_search(epochs=3, settings={"data": "toys", "seed": 2**32 - 1})
    assert search.config.training.patience == 20
    preset, trial = (
        search.config.flat(),
        search.trial_config({"hidden_dim": 32, "temperature": 2.0, "dropout": 0}, 4),
    )
    changed = {key: value for key, value in trial.flat().items() if value != preset[key]}
    assert changed == {
        "hidden_dim": 32,
        "temperature": 2.0,
        "dropout": 0.0,
        "epochs": 3,
        "patience": 2,
        "seed": 3,  # seeds end at 2^32 - 1
    }
    assert Search.from_dict(search.as_dict()) == search
