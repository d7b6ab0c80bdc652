"""Package metadata; formatting, lint and test settings live in pyproject.toml."""

from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent

# `datasets/` and `tuning/` are top-level folders of the repository but install as subpackages, so
# that the global name `datasets` (another library's) is never claimed.
PACKAGES = {
    "metasgcl_tf": "metasgcl_tf",
    "metasgcl_tf.data": "metasgcl_tf/data",
    "metasgcl_tf.layers": "metasgcl_tf/layers",
    "metasgcl_tf.models": "metasgcl_tf/models",
    "metasgcl_tf.reports": "metasgcl_tf/reports",
    "metasgcl_tf.serving": "metasgcl_tf/serving",
    "metasgcl_tf.datasets": "datasets",
    "metasgcl_tf.datasets.amazon_reviews_2014": "datasets/amazon_reviews_2014",
    "metasgcl_tf.tuning": "tuning",
}

# TFDS imports importlib_resources without declaring it.
TFDS = ["tensorflow-datasets>=4.9.10", "importlib_resources"]
# Searches override some of what KerasTuner keeps to itself, so its next minor version may differ.
TUNING = ["keras-tuner[bayesian]>=1.4.8,<1.5", "plotly>=6"]
JAX = ["jax>=0.5"]
PLOTS = ["matplotlib"]
REPORT = [*PLOTS, "scikit-learn"]
SERVING = ["tensorflow-serving-api>=2.21"]
ONNX = ["tf2onnx>=1.17", "onnxruntime"]
LITERT = ["ai-edge-litert"]

setup(
    name="metasgcl-tf",
    version="0.1.0",
    description="Meta-SGCL and friends: sequential recommendation in Keras, from interaction log to ranking",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    python_requires=">=3.11",
    packages=list(PACKAGES),
    package_dir=PACKAGES,
    package_data={
        "metasgcl_tf": ["py.typed"],
        "metasgcl_tf.reports": ["paper/*", "experiments.html"],
        "metasgcl_tf.tuning": ["report.html"],
        "metasgcl_tf.datasets.amazon_reviews_2014": ["*.txt", "*.tsv", "*.bib", "*.md"],
    },
    install_requires=[
        "tensorflow>=2.21",
        "keras>=3.15",
        "tensorboard",
        "numpy",
        "polars>=1.30",
        "pyyaml",
        "rich",
        "scipy>=1.17",
    ],
    extras_require={
        "datasets": TFDS,
        "tuning": TUNING,
        "jax": JAX,
        "plots": PLOTS,
        "report": REPORT,
        "serving": SERVING,
        "onnx": ONNX,
        "litert": LITERT,
        "dev": [
            *TFDS,
            *TUNING,
            *JAX,
            *REPORT,
            *SERVING,
            *ONNX,
            *LITERT,
            "pytest",
            "pytest-xdist>=3.7",
            "hypothesis",
            "ruff",
            "dill",
            "keras-rs",
            "setuptools>=64",
            "wheel",
        ],
    },
    entry_points={"console_scripts": ["metasgcl = metasgcl_tf.cli:main"]},
)
