"""Reads model files that may come from anywhere: everything in one is checked before Keras acts on it.

Keras' `safe_mode` refuses marshalled code, but it still imports modules and builds objects by the names that
a file gives. Here a file may name what this package saves and nothing else. Of its three members the two of
JSON are small, and the third, of HDF5, holds plain arrays, so that nothing grows while it is read.
"""

import io
import json
import stat
import zipfile
from pathlib import Path
from typing import Any

import h5py
import keras

from metasgcl_tf.errors import InputError
from metasgcl_tf.models import SequentialRecommender

CONFIG, METADATA, WEIGHTS = "config.json", "metadata.json", "model.weights.h5"
LARGEST_JSON = 2**20  # bytes; the largest of our own has some thousand
PACKAGE = "metasgcl_tf"
NAMING = ("module", "class_name", "registered_name", "spec_name")  # keys by which Keras finds an object


def load_model(path: str | Path, compile: bool = True) -> SequentialRecommender:
    """Loads a model that this package saved, and only that.

    Args:
        path: a `.keras` file.
        compile: bring the optimizer back too; scores need none.

    Raises:
        InputError: the file is damaged or holds anything else than a model of this package: other classes
            or functions, other members, compressed or linked data. Nothing of it was built or written then.
    """
    path = Path(path)
    try:
        check_archive(path)
        model = keras.models.load_model(path, compile=compile, safe_mode=True)
    except Exception as error:  # a damaged archive fails in many ways: zip, JSON, HDF5, Keras
        reason = " ".join(str(error).strip().partition("\n")[0].split()) or type(error).__name__
        raise InputError(
            f"`run` should hold a readable {path.name}. Received: {path} ({reason:.200})."
        ) from None
    return model


def check_archive(path: Path) -> None:
    """Raises a `ValueError` unless a `.keras` file is as this package writes it."""
    with zipfile.ZipFile(path) as archive:
        _check_members(archive.infolist(), path.stat().st_size)
        if damaged := archive.testzip():  # Keras does not look at the checksums
            raise ValueError(f"{damaged} in it is damaged")
        config = json.loads(archive.read(CONFIG))
        values = count_values(archive.read(WEIGHTS))
    check_config(config)
    _check_sizes(config["config"], values)


def _check_members(members: list[zipfile.ZipInfo], file_size: int) -> None:
    """Three members by name, so no path leads out; none compressed, so none grows."""
    names = sorted(member.filename for member in members)
    if names != sorted((CONFIG, METADATA, WEIGHTS)):
        raise ValueError(f"its members should be {CONFIG}, {METADATA} and {WEIGHTS}, not {names!r:.120}")
    for member in members:
        if stat.S_ISLNK(member.external_attr >> 16):
            raise ValueError(f"{member.filename} in it is a link")
        stored = member.compress_type == zipfile.ZIP_STORED and member.file_size == member.compress_size
        if not stored or member.file_size > file_size:
            raise ValueError(f"{member.filename} in it is compressed, which Keras does not do")
        if member.filename != WEIGHTS and member.file_size > LARGEST_JSON:
            raise ValueError(f"{member.filename} in it has {member.file_size:,} bytes")


def check_config(config: Any) -> None:
    """Raises a `ValueError` unless a model's `config.json` names classes of this package and its optimizers.

    Args:
        config: as read from JSON.
    """
    if not isinstance(config, dict) or not isinstance(config.get("config"), dict):
        raise ValueError(f"{CONFIG} in it is not that of a model")
    waiting = [config]
    while waiting:
        value = waiting.pop()
        if isinstance(value, list):
            waiting += value
        elif isinstance(value, dict):
            waiting += value.values()
            if any(key in value for key in NAMING):
                _named_class(value)
    if not issubclass(_named_class(config), SequentialRecommender):
        raise ValueError(f"it holds a {config['class_name']}, which is no model")


def _named_class(named: dict[str, Any]) -> type:
    """The class that a part of a configuration names, if it may."""
    module, name, registered = (named.get(key) for key in NAMING[:3])
    found = None
    if all(isinstance(each, str) for each in (module, name, registered)):
        ours = module.split(".")[0] == PACKAGE and registered == f"{PACKAGE}>{name}"
        found = keras.saving.get_registered_object(registered) if ours else None
    elif isinstance(name, str) and registered is None and "spec_name" not in named:
        found = _of_keras(module, name)
    if not isinstance(found, type):
        said = {key: named[key] for key in NAMING if key in named}
        raise ValueError(f"{CONFIG} in it names what no model of this package has, {said!r:.120}")
    return found


def _of_keras(module: Any, name: str) -> Any:
    """What models of this package hold of Keras: the precision, an optimizer, a schedule of its rate."""
    if (module, name) == ("keras", "DTypePolicy"):
        return keras.DTypePolicy
    homes = {
        "keras.optimizers": (keras.optimizers, keras.optimizers.Optimizer),
        "keras.optimizers.schedules": (
            keras.optimizers.schedules,
            keras.optimizers.schedules.LearningRateSchedule,
        ),
    }
    if module not in homes:
        return None
    home, kind = homes[module]
    found = getattr(home, name, None)
    return found if isinstance(found, type) and issubclass(found, kind) else None


def count_values(data: bytes) -> int:
    """How many numbers a file of weights holds.

    Raises:
        ValueError: it holds a link, or an array that is not as Keras writes it: plain numbers, in this file,
            not compressed, each one there.
    """
    values, size, seen = 0, 0, set()
    with h5py.File(io.BytesIO(data), "r") as weights:
        waiting = [weights]
        while waiting:
            group = waiting.pop()
            for name in group:
                link = group.get(name, getlink=True)
                if not isinstance(link, h5py.HardLink):
                    raise ValueError(f"{WEIGHTS} in it has a {type(link).__name__}, {name!r:.80}")
                part = group[name]
                place = h5py.h5o.get_info(part.id).addr
                if place in seen:  # without this, a few parts could make endlessly many ways
                    raise ValueError(f"{WEIGHTS} in it has two names for one part, {name!r:.80}")
                seen.add(place)
                if isinstance(part, h5py.Group):
                    waiting.append(part)
                    continue
                _check_array(part, name)
                values, size = values + part.size, size + part.nbytes
    if size > len(data):  # arrays that lie on top of each other
        raise ValueError(f"{WEIGHTS} in it says that it holds {size:,} bytes of {len(data):,}")
    return values


def _check_array(part: Any, name: str) -> None:
    """Raises a `ValueError` unless a part of a file of weights is an array of numbers that is all there."""
    plain = isinstance(part, h5py.Dataset) and part.dtype.kind in "biufV" and part.shape is not None
    plain = plain and not part.dtype.hasobject and not part.external and not part.is_virtual
    plain = plain and part.id.get_create_plist().get_nfilters() == 0
    if not plain or (part.size and part.id.get_storage_size() != part.size * part.dtype.itemsize):
        raise ValueError(f"{WEIGHTS} in it has a part that is no plain array, {name!r:.80}")


def _check_sizes(config: dict[str, Any], values: int) -> None:
    """Refuses tables and layers that the weights cannot fill, before a model of such sizes takes memory."""
    inner = [part["config"] for part in config.values() if isinstance(part, dict) and "config" in part]
    for part in (config, *inner):  # a hybrid has its models within
        width = part.get("hidden_dim", 1)
        sizes = [part.get(name, 0) * width for name in ("num_items", "num_users")]
        sizes += [part.get(name, 0) for name in ("num_layers", "num_decoder_layers")]
        if max(sizes) > values:
            raise ValueError(f"{CONFIG} in it asks for more weights than {WEIGHTS} has")


def check_links(folder: Path, argument: str) -> None:
    """Raises an `InputError` where something in a folder is a symbolic link that leads out of it.

    Whoever made the folder could otherwise have us read, show or overwrite any file of the reader's.

    Args:
        folder: may be a link itself, and need not exist.
        argument: what the folder was given as.
    """
    inside = folder.resolve()
    for path in folder.rglob("*"):
        if path.is_symlink() and not path.resolve().is_relative_to(inside):
            raise InputError(
                f"`{argument}` should be a folder without links that lead out of it. Received: {path}."
            )
