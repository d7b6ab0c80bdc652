"""One virtual environment for each package we compare with, so that nobody's requirements bend another's."""

import json
import subprocess
import sys
from pathlib import Path

# Every tuple is one `pip install`. PyTorch comes first, so that its version is settled before others ask for
# any. PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu saves the gigabytes of the build with CUDA.
REQUIREMENTS = {
    "recbole": (
        ("torch==2.13.0",),
        # RecBole 1.2.1 uses names that NumPy 2 and later SciPy no longer have and fills data frames in a way
        # that later pandas ignores; its Ray needs the `pkg_resources` of setuptools.
        ("setuptools<80", "numpy<2", "pandas<2.3", "scipy<1.14", "recbole==1.2.1"),
    ),
    "rectools": (
        ("torch==2.13.0",),
        ("rectools[torch]==0.19.0",),
    ),
}


def peer_python(name: str, folder: Path) -> Path:
    """The Python of a peer's environment, which is made first if it is not there yet.

    Args:
        name: "recbole" or "rectools".
        folder: where the environments live, each in a folder of its own name.

    Returns:
        The path of the interpreter.

    Raises:
        KeyError: there is no such peer.
        subprocess.CalledProcessError: an installation failed; the next call starts it anew.
    """
    steps = REQUIREMENTS[name]
    environment = folder.absolute() / name
    python = environment / "bin" / "python"
    marker = environment / "installed.json"
    wanted = json.dumps(steps, indent=2)
    # Written last, so an installation that was cut short or had other requirements does not count.
    if marker.is_file() and marker.read_text(encoding="utf-8") == wanted:
        return python
    subprocess.run([sys.executable, "-m", "venv", "--clear", environment], check=True)
    for step in steps:
        subprocess.run([python, "-m", "pip", "install", "--quiet", *step], check=True)
    marker.write_text(wanted, encoding="utf-8")
    return python
