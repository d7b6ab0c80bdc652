"""What no source file of the package may do, because it would run or trust what comes from elsewhere."""

import ast

import pytest

from tests.conftest import REPOSITORY

SOURCES = [
    path for folder in ("metasgcl_tf", "tuning", "datasets") for path in (REPOSITORY / folder).rglob("*.py")
]
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "marshal", "shelve", "code", "runpy"}
CALLS = {"eval", "exec", "compile", "__import__"}  # of builtins, by their bare names
# Calls by the end of their name; `safe_loading.load_model` is the one way to a model.
METHODS = {
    "yaml.load": "yaml.safe_load",
    "yaml.load_all": "yaml.safe_load",
    "yaml.full_load": "yaml.safe_load",
    "yaml.unsafe_load": "yaml.safe_load",
    "models.load_model": "safe_loading.load_model",
    "saving.load_model": "safe_loading.load_model",
    "load_weights": "safe_loading.load_model",
    "enable_unsafe_deserialization": "nothing",
    "read_pickle": "a table",
    "torch.load": "safe_loading.load_model",
    "os.system": "subprocess.run",
    "extractall": "reading of members",
    "extract": "reading of members",
}
ALLOWED = {("safe_loading.py", "models.load_model")}


def findings(source, name="a.py"):
    """What is wrong in the source of a file, each with its line."""
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import):
            found += [(line, a.name) for a in node.names if a.name.split(".")[0] in MODULES]
        elif isinstance(node, ast.ImportFrom):
            found += [(line, node.module)] if (node.module or "").split(".")[0] in MODULES else []
            found += [(line, f"keras {a.name}") for a in node.names if is_of_keras(node, a.name)]
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            found += [(line, called)] if called in CALLS else []
            ends = [end for end in METHODS if f".{called}".endswith(f".{end}") and "." in called]
            found += [(line, called) for end in ends if (name, end) not in ALLOWED]
            found += [(line, "allow_pickle")] if keywords.get("allow_pickle", "False") != "False" else []
            found += [(line, "shell")] if keywords.get("shell", "False") != "False" else []
            found += [(line, "safe_mode")] if keywords.get("safe_mode", "True") != "True" else []
    return found


def is_of_keras(node, name):
    return (node.module or "").split(".")[0] == "keras" and name in ("load_model", "load_weights")


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(REPOSITORY)))
def test_nothing_runs_or_unpickles_what_it_reads(path):
    assert findings(path.read_text(encoding="utf-8"), path.name) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from marshal import loads",
        "import os.path, dill",
        "eval('1')",
        "exec(code)",
        "yaml.load(text, yaml.Loader)",
        "yaml.unsafe_load(text)",
        "np.load(path, allow_pickle=True)",
        "keras.models.load_model(path)",
        "from keras.models import load_model",
        "model.load_weights(path)",
        "keras.config.enable_unsafe_deserialization()",
        "safe_loading.load_model(path, safe_mode=False)",
        "subprocess.run(line, shell=True)",
        "os.system(line)",
        "archive.extractall(folder)",
    ],
)
def test_it_would_be_found(source):
    assert len(findings(source)) == 1


def test_what_looks_like_it_is_fine():
    source = (
        "yaml.safe_load(x)\nmodel.compile(o)\nre.compile('x')\nnp.load(p)\nmodel.eval()\nload_model(path)"
    )
    assert findings(source) == []
