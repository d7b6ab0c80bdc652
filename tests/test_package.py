"""What a user gets by installing, and that the README tells the truth."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import metasgcl_tf
from metasgcl_tf.datasets.synthetic import generate

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The package built and installed from its sources into an empty folder."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(folder), str(ROOT)], check=True, capture_output=True)
    return folder


def test_wheel_claims_one_name_and_brings_its_files(installed):
    top = {path.name for path in installed.iterdir() if not path.name.endswith(".dist-info")} - {"bin"}
    assert top == {"metasgcl_tf"}  # neither `datasets`, another library's name, nor `tuning` or `tests`
    for name in (
        "py.typed",
        "datasets/synthetic.py",
        "datasets/amazon_reviews_2014/checksums.tsv",
        "tuning/__init__.py",
        "reports/paper/table2_overall.csv",
        "reports/paper/table7_similarity.csv",
        "reports/experiments.html",
    ):
        assert (installed / "metasgcl_tf" / name).is_file()


def test_every_module_of_the_repository_is_in_the_wheel(installed):
    sources = {
        "metasgcl_tf": "metasgcl_tf",
        "datasets": "metasgcl_tf/datasets",
        "tuning": "metasgcl_tf/tuning",
    }
    for folder, place in sources.items():
        for path in (ROOT / folder).rglob("*.py"):
            assert (installed / place / path.relative_to(ROOT / folder)).is_file(), path


def test_public_names_are_importable():
    for name in metasgcl_tf.__all__:
        assert getattr(metasgcl_tf, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        metasgcl_tf.nonsense  # noqa: B018


def test_readme_example_runs(capsys, exported, tmp_path, monkeypatch):
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    example, large_catalogues, serving = blocks
    assert len(example.strip().splitlines()) <= 20
    generate(num_users=300).write_csv(tmp_path / "log.csv")
    shorter = example.replace("epochs=10", "epochs=1").replace('"synthetic"', repr(str(tmp_path / "log.csv")))
    exec(f"{shorter}\n{large_catalogues}", {})
    printed = capsys.readouterr().out.strip().splitlines()
    assert "kept_ndcg@10" in printed[-2]
    recommended = re.findall(r"i\d{3}", printed[-1])
    assert len(recommended) == 5
    assert not {"i017", "i003"} & set(recommended)

    monkeypatch.chdir(tmp_path)
    (tmp_path / "saved_models").mkdir()
    (tmp_path / "saved_models" / "shop").symlink_to(exported.parent)
    names: dict = {}
    exec(serving, names)
    assert names["answer"]["item_ids"].shape == (1, 5)


def test_reported_figures_are_those_measured():
    from benchmarks.readme import PAGES, updated

    assert list((ROOT / "benchmarks" / "results").glob("*/leaderboard.json"))
    for page in PAGES:
        assert updated(page) == page.read_text(encoding="utf-8")


def test_a_later_comparison_replaces_the_rows_of_its_models():
    from benchmarks.merge import merged

    def board(command, test, **valid):
        command += f" --models {','.join(valid)}"
        rows = [{"name": name, "valid_ndcg@10": value, "from": command} for name, value in valid.items()]
        failures = [] if test else [{"name": "c", "reason": ""}]
        more = {"paired_test": test, "failures": failures, "command": command}
        return {"counts": {"users": 1}, "protocol": "", "rows": rows} | more

    old = board("old", {"best": "a", "second": "b"}, a=0.3, b=0.2, c=0.1)
    both = merged(old, board("new", None, c=0.15))
    first, then = "old --models a,b,c", "new --models c"
    assert [(row["name"], row["from"]) for row in both["rows"]] == [("a", first), ("b", first), ("c", then)]
    assert both["paired_test"] and both["command"] == f"{first}`, then `{then}" and len(both["failures"]) == 1
    again = merged(both, board("newer", None, c=0.12))
    assert again["command"] == f"{first}`, then `newer --models c"  # nothing is left of the one between
    overtaken = merged(old, board("new", None, c=0.25))
    assert [row["name"] for row in overtaken["rows"]] == ["a", "c", "b"] and not overtaken["paired_test"]
    with pytest.raises(ValueError, match="`counts` should be the same"):
        merged(old, board("new", None, c=0.15) | {"counts": {"users": 2}})


@pytest.mark.slow
def test_a_saved_model_loads_where_only_its_class_was_imported(tmp_path):
    path = str(tmp_path / "model.keras")
    model = metasgcl_tf.MetaSGCL(5, max_length=4, hidden_dim=8)
    model.compile()
    model.save(path)
    code = f"import keras; from metasgcl_tf import MetaSGCL; keras.models.load_model({path!r})"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
