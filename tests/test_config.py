"""Layers of settings, and what is refused."""

import pytest
import yaml

from metasgcl_tf.config import (
    DataConfig,
    build_config,
    model_parameters,
    warn_of_defaults,
)
from metasgcl_tf.datasets import named
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import MODELS
from metasgcl_tf.names import file_name, name_of, run_name, settings_of, title_of
from metasgcl_tf.presets import PRESETS, VARIANTS
from metasgcl_tf.run_folder import read_config
from metasgcl_tf.settings import settings
from metasgcl_tf.yaml_text import read_config_file


def refusal(*layers):
    with pytest.raises(InputError) as caught:
        build_config(*layers)
    return str(caught.value)


def test_nothing_given_is_the_synthetic_log_with_its_preset():
    config = build_config()
    assert config.data == DataConfig() and config.data.data == "synthetic"
    assert config.flat().items() >= PRESETS["synthetic"]["meta_sgcl"].items()


def test_later_layers_win_over_earlier_ones_and_these_over_the_preset():
    assert PRESETS["toys"]["meta_sgcl"]["dropout"] == 0.5
    flat = build_config({"data": "toys", "epochs": 7, "seed": 2}, {"epochs": 8, "dropout": 0.25}).flat()
    assert (flat["epochs"], flat["seed"], flat["dropout"]) == (8, 2, 0.25)
    assert flat["batch_size"] == PRESETS["toys"]["meta_sgcl"]["batch_size"]


def test_a_preset_can_be_borrowed_for_a_file():
    flat = build_config({"data": "shop.csv", "preset": "toys"}).flat()
    assert flat["data"] == "shop.csv"
    assert flat.items() >= PRESETS["toys"]["meta_sgcl"].items()
    plain = build_config({"data": "shop.csv"}).flat()
    assert plain["dropout"] == model_parameters("meta_sgcl")["dropout"].default == 0.2


@pytest.mark.parametrize("model", MODELS)
def test_every_preset_is_valid_for_every_model(model):
    for preset in PRESETS:
        assert preset in named.NAMES
        flat = build_config({"preset": preset, "model": model}).flat()
        assert flat.items() >= PRESETS[preset].get(model, {}).items()


def test_a_variant_changes_what_it_names_over_the_preset():
    preset = PRESETS["toys"]["meta_sgcl"]
    for variant, changed in VARIANTS["meta_sgcl"].items():
        flat = build_config({"preset": "toys", "variant": variant}).flat()
        plain = build_config({"preset": "toys"}).flat()
        assert flat == plain | changed | {"variant": variant}
        assert flat.items() >= preset.items()
        assert build_config(flat).flat() == flat  # as from a run's config.yaml
    ablations = {
        name: build_config({"preset": "toys", "variant": name}).model_options
        for name in ("no_cl", "no_kl", "no_cl_kl")
    }
    weights = {name: (o["contrastive_weight"], o["kl_weight"]) for name, o in ablations.items()}
    assert weights == {"no_cl": (0, 0.01), "no_kl": (0.03, 0), "no_cl_kl": (0, 0)}
    # Step 2 of the update is contrast alone.
    assert [o["training"] for o in ablations.values()] == ["joint", "two_step", "joint"]


def test_a_variant_is_what_it_says():
    assert "`contrastive_weight` should be 0.0 in the variant no_cl" in refusal(
        {"variant": "no_cl", "contrastive_weight": 0.1}
    )
    assert "did you mean 'no_cl'" in refusal({"variant": "no-cl"})
    assert "left out: pop has none" in refusal({"model": "pop", "variant": "no_cl"})


@pytest.mark.parametrize(
    ("name", "title", "folder"),
    [
        ("sasrec", "SASRec", "toys-sasrec-seed1"),
        ("meta_sgcl:no_cl", "Meta-SGCL no_cl", "toys-meta_sgcl-no_cl-seed1"),
        ("hybrid:sasrec", "Hybrid of SASRec", "toys-hybrid-sasrec-seed1"),
        ("hybrid:meta_sgcl:joint", "Hybrid of Meta-SGCL joint", "toys-hybrid-meta_sgcl-joint-seed1"),
    ],
)
def test_a_name_says_what_was_trained(name, title, folder):
    config = build_config(settings_of(name), {"data": "some/where/toys.txt.gz"})
    assert name_of(config.training) == name
    assert (title_of(name), run_name(config)) == (title, folder)
    assert ":" not in file_name(name)
    assert title_of("best possible") == "best possible"


@pytest.mark.parametrize("model", MODELS)
def test_a_written_configuration_reads_back_the_same(tmp_path, model):
    config = build_config({"model": model, "data": "größe, [x]: #1.csv", "user_col": "1", "min_rating": 4})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config.flat()), encoding="utf-8")
    assert build_config(read_config_file(tmp_path / "config.yaml")) == config


def test_a_run_of_an_older_version_ran_with_the_defaults_of_what_it_did_not_know(tmp_path):
    config = build_config({"model": "sasrec", "data": "toys"})
    known = {key: value for key, value in config.flat().items() if key != "seen_margin"}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(known), encoding="utf-8")
    found = read_config(tmp_path)
    assert config.model_options["seen_margin"] > 0 and found.model_options["seen_margin"] == 0
    assert found.flat() | {"seen_margin": config.model_options["seen_margin"]} == config.flat()


def test_values_get_the_type_of_their_key():
    flat = build_config({"learning_rate": "1e-3", "kl_weight": 1, "min_rating": 3, "user_col": 7}).flat()
    assert flat["learning_rate"] == 0.001  # YAML reads 1e-3, without a dot, as text
    assert [type(flat[key]) for key in ("kl_weight", "min_rating", "user_col")] == [float, float, str]


@pytest.mark.parametrize(
    ("values", "parts"),
    [
        ({"learning_rat": 1}, ["`learning_rat`", "did you mean 'learning_rate'", "= 1."]),
        ({"hiden_dim": 32}, ["`hiden_dim`", "did you mean 'hidden_dim'"]),
        ({"model": "pop", "dropout": 0.5}, ["`dropout`", "of pop"]),
        ({"num_items": 5}, ["`num_items`"]),
        ({"model": "sgcl"}, ["`model`", "did you mean 'meta_sgcl'", "'sgcl'"]),
        ({"model": ["pop"]}, ["`model`", "['pop']"]),
        ({"model": None}, ["`model`", "None"]),
        ({"model": 0xF << 20_000}, ["`model`", "did you mean", "an integer of 20004 bits"]),
        ({"preset": "toyz"}, ["`preset`", "did you mean 'toys'", "'toyz'"]),
        ({"preset": {"a": 1}}, ["`preset`"]),
        ({"data": None}, ["`data`", "text", "None"]),
        ({"data": ["a"]}, ["`data`", "text", "['a']"]),
        ({"item_col": False}, ["`item_col`", "text", "False"]),
        ({"epochs": 1.5}, ["`epochs`", "whole number", "1.5"]),
        ({"epochs": True}, ["`epochs`", "whole number", "True"]),
        ({"epochs": "many"}, ["`epochs`", "whole number", "'many'"]),
        ({"epochs": 0xF << 20_000}, ["`epochs`", "whole number", "an integer of 20004 bits"]),
        ({"batch_size": 2**32 + 1}, ["`batch_size`", "whole number of at most 2^32", "4294967297"]),
        ({"data": 0xF << 20_000}, ["`data`", "text", "an integer of 20004 bits"]),
        ({"dropout": "x" * 10**6}, ["`dropout`", "finite number", "xxx...xxx"]),
        ({"a\x1eb": 1}, [r"`a\x1eb`", "did you mean"]),
        ({"k_core": [[[[["deep"] * 99] * 99] * 99] * 99] * 99}, ["`k_core`", "whole number", "[[[["]),
        ({"epochs": 0}, ["`epochs`", "at least 1", "= 0"]),
        ({"patience": 0}, ["`patience`", "at least 1"]),
        ({"batch_size": -1}, ["`batch_size`", "at least 1", "= -1"]),
        ({"learning_rate": "fast"}, ["`learning_rate`", "finite number", "'fast'"]),
        ({"learning_rate": float("nan")}, ["`learning_rate`", "finite number", "nan"]),
        ({"learning_rate": 10**400}, ["`learning_rate`", "finite number"]),
        ({"learning_rate": 0}, ["`learning_rate`", "above 0"]),
        ({"meta_learning_rate": -1}, ["`meta_learning_rate`", "above 0"]),
        ({"kl_weight": [1]}, ["`kl_weight`", "finite number", "[1]"]),
        ({"every_prefix": 1}, ["`every_prefix`", "true or false", "= 1"]),
        ({"every_prefix": True, "model": "bert4rec"}, ["`every_prefix`", "false for bert4rec", "= True"]),
        ({"every_prefix": True, "model": "duorec"}, ["`every_prefix`", "false for duorec", "= True"]),
        (
            {"cooccurrence_start": True, "model": "bpr_mf"},
            ["`cooccurrence_start`", "false for bpr_mf", "= True"],
        ),
        ({"every_prefix": True, "target_decay": 0.5}, ["`every_prefix`", "false with a target_decay"]),
        ({"target_decay": 1.0}, ["`target_decay`", "below 1", "= 1.0"]),
        (
            {"target_decay": 0.5, "item_loss": "bce"},
            ["`item_loss`", "one of softmax, sampled_softmax with a target_decay", "bce"],
        ),
        ({"seed": -1}, ["`seed`", "between 0", "= -1"]),
        ({"seed": 2**32}, ["`seed`", "2^32"]),
        ({"min_rating": "nan"}, ["`min_rating`", "finite number", "'nan'"]),
    ],
)
def test_refused_values_are_named_with_their_rule(values, parts):
    message = refusal(values)
    assert len(message.splitlines()) == 1 and len(message) < 1_500 and "Received: " in message
    for part in parts:
        assert part in message


@pytest.mark.parametrize(
    ("content", "parts"),
    [
        (b"a: [", ["YAML"]),
        (b"- a\n- b\n", ["map keys to values", "a list"]),
        (b"", ["map keys to values", "nothing"]),
        (b"just text", ["map keys to values", "a str"]),
        (b"\xff\xfe\x00", ["YAML", "0xff"]),
        (b"x: !!python/object/apply:os.getcwd []\n", ["YAML"]),
        (b"x: 2024-13-01\n", ["YAML", "month"]),
        (b"x: !!bool x\n", ["YAML"]),
        (b"x: !!timestamp x\n", ["YAML"]),
        (b"x: " + b"9" * 5000, ["YAML", "digits"]),
        (b"x: " + b"[" * 5000, ["YAML", "nested too deep"]),
        (b"a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n", ["YAML", "refers to another value"]),
        (b"a: &a {x: 1}\nb: {<<: [*a, *a]}\n", ["YAML", "refers to another value"]),
    ],
)
def test_a_file_that_is_no_configuration(tmp_path, content, parts):
    path = tmp_path / "config.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError) as caught:
        read_config_file(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    for part in parts:
        assert part in message


def test_a_missing_file_or_a_folder(tmp_path):
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(InputError, match=r"`--config` should be a readable file\. Received: "):
            read_config_file(path)


@pytest.mark.parametrize("model", MODELS)
def test_every_setting_is_shown_once_with_its_value_and_meaning(model):
    config = build_config({"model": model, "preset": "toys"})
    found = settings(config)
    assert list(found) == ["data", "training", model]
    values = {row.key: row.value for rows in found.values() for row in rows}
    assert sum(map(len, found.values())) == len(values)
    assert values.keys() == config.flat().keys()
    assert build_config({key: yaml.safe_load(value) for key, value in values.items()}) == config
    assert all(len(row.meaning.split()) > 1 for rows in found.values() for row in rows)


def test_a_meaning_is_that_of_the_docstring():
    rows = {row.key: row for row in settings(build_config({"preset": "toys"}))["meta_sgcl"]}
    assert rows["kl_warmup_steps"] == (
        "kl_warmup_steps",
        "4000",
        "updates over which beta rises linearly from 0.",
    )
    assert rows["norm_first"].value == "false" and rows["negative_sampling"].value == ""


def test_a_model_that_the_preset_lacks_is_told(recwarn):
    warn_of_defaults(build_config({"data": "clothing", "model": "gru4rec"}))
    assert [str(each.message) for each in recwarn] == [
        "The preset clothing has nothing for gru4rec: its defaults count."
    ]
    for model in ("sasrec", "pop"):  # one that it has, and one with nothing to set
        warn_of_defaults(build_config({"data": "log.csv", "preset": "clothing", "model": model}))
    warn_of_defaults(build_config({"data": "log.csv", "model": "gru4rec"}))
    assert len(recwarn) == 1
