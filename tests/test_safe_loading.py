"""A model file or run folder from elsewhere is refused before anything in it is built, run or followed."""

import base64
import io
import json
import marshal
import shutil
import stat
import zipfile

import h5py
import keras
import numpy as np
import pytest
from tensorflow.core.protobuf import saved_model_pb2

from metasgcl_tf import RowWiseAdam
from metasgcl_tf.errors import InputError
from metasgcl_tf.models.hybrid import Hybrid
from metasgcl_tf.models.item_cooccurrence import ItemCooccurrence
from metasgcl_tf.models.meta_sgcl import MetaSGCL
from metasgcl_tf.models.sasrec import SASRec
from metasgcl_tf.run_folder import check_free, load_run, read_metrics
from metasgcl_tf.safe_loading import CONFIG, METADATA, WEIGHTS, load_model
from metasgcl_tf.serving import Loaded
from metasgcl_tf.serving.check import serve_check

TINY = {"max_length": 4, "hidden_dim": 4, "num_layers": 1, "num_heads": 1}
ITEM_TABLE = "embedding/vars/0"


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of a saved SASRec, whose rate falls along a cosine: name -> bytes."""
    model = SASRec(5, **TINY)
    model.compile(RowWiseAdam(keras.optimizers.schedules.CosineDecay(0.1, 10)))
    path = tmp_path_factory.mktemp("saved") / "model.keras"
    model.save(path)
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.fixture
def write(members, tmp_path):
    """Writes an archive of them with some changed; what is not bytes becomes JSON."""

    def write(changed=None, **options):
        path = tmp_path / "model.keras"
        with zipfile.ZipFile(path, "w", **options) as archive:
            for name, data in (members | (changed or {})).items():
                archive.writestr(name, data if isinstance(data, bytes) else json.dumps(data))
        return path

    return write


@pytest.fixture
def refused(monkeypatch):
    """Asserts that a file is refused in one line, and that Keras never gets to see it."""

    def never(*_, **__):
        raise AssertionError("Keras was asked to load it")

    def refused(path, *parts):
        with monkeypatch.context() as patched, pytest.raises(InputError) as caught:
            patched.setattr(keras.models, "load_model", never)
            load_model(path)
        message = str(caught.value)
        assert "\n" not in message and str(path) in message and "Keras was asked" not in message
        assert all(part in message for part in parts), message

    return refused


# ---- what is ours loads -------------------------------------------------------------------------


OPTIMIZERS = {
    "own": lambda: RowWiseAdam(0.1, global_clipnorm=1.0),
    "schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10), momentum=0.5),
    "name": lambda: "adamw",
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS.values(), ids=OPTIMIZERS)
@pytest.mark.parametrize("cls", [SASRec, MetaSGCL])
def test_a_model_of_ours_comes_back_with_its_optimizer(cls, optimizer, tmp_path):
    model = cls(5, **TINY)
    model.compile(optimizer())
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert type(again) is cls and type(again.optimizer) is type(model.optimizer)
    kept = ([*each.trainable_variables, *each.optimizer.variables] for each in (again, model))
    for found, saved in zip(*kept, strict=True):
        np.testing.assert_array_equal(found, saved)
    assert not load_model(tmp_path / "model.keras", compile=False).compiled


def test_a_hybrid_comes_back_in_either_precision(make_split, tmp_path):
    split = make_split([[1, 2, 3, 4, 5]] * 3)
    counted = ItemCooccurrence(5)
    counted.adapt(split)
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        hybrid = Hybrid(SASRec(5, **TINY), counted, 0.5)
    finally:
        keras.config.set_dtype_policy("float32")
    hybrid.compile()
    hybrid.save(tmp_path / "model.keras")
    history = {"item_ids": np.array([[1, 2]], np.int32)}
    scores = hybrid.score_items(history)
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.score_items(history), scores, rtol=1e-2)  # in float32 now


# ---- what a configuration may name --------------------------------------------------------------


def function(module, name):
    return {"module": module, "class_name": "function", "config": name, "registered_name": name}


def an_object(module, name, config, registered=None):
    return {"module": module, "class_name": name, "config": config, "registered_name": registered}


def hostile(marker):
    """Parts of a configuration that would write the marker, or read, or run something, if anybody obeyed."""
    code = compile(f"open({str(marker)!r}, 'w')", "x", "eval")
    marshalled = base64.b64encode(marshal.dumps(code)).decode()
    a_lambda = {"class_name": "__lambda__", "config": {"value": [marshalled, None, None]}}
    layer = {"name": "x", "trainable": True, "dtype": "float32"}
    touch = {"command": f"touch {marker}"}
    return {
        "a lambda": a_lambda,
        "a Lambda layer": an_object("keras.layers", "Lambda", layer | {"function": a_lambda}),
        "os.system": an_object("os", "system", touch),
        "os.system by name": function("os", "system"),
        "subprocess": an_object("subprocess", "Popen", {"args": ["touch", str(marker)]}),
        "a builtin": function("builtins", "exec"),
        "a class of builtins": an_object("builtins", "eval", {}),
        "a registered name of nobody": an_object("metasgcl_tf.models", "Evil", {}, "metasgcl_tf>Evil"),
        "a registered name of others": an_object("metasgcl_tf.models", "Evil", {}, "evil>Evil"),
        "our name for a lambda": a_lambda
        | {"registered_name": "metasgcl_tf>SASRec", "module": "metasgcl_tf"},
        "get_file": function("keras.utils", "get_file"),
        "get_file as a class": an_object(
            "keras.utils", "get_file", {"fname": "x", "origin": f"file://{marker}"}
        ),
        "load_model of saving": function("keras.saving", "load_model"),
        "load_model of models": an_object("keras.models", "load_model", {"filepath": "other.keras"}),
        "unsafe from now on": function("keras.config", "enable_unsafe_deserialization"),
        "a callback that writes": an_object("keras.callbacks", "CSVLogger", {"filename": str(marker)}),
        "a layer that reads": an_object("keras.layers", "StringLookup", {"vocabulary": "/etc/hostname"}),
        "a SavedModel": an_object("keras.layers", "TFSMLayer", layer | {"filepath": "elsewhere"}),
        "inside of Keras": function("keras.src.utils.python_utils", "func_load"),
        "a type": {"class_name": "__typespec__", "spec_name": "x", "config": [], "module": "os"}
        | {"registered_name": None},
        "no class": {"class_name": ["SASRec"], "config": {}, "module": "keras", "registered_name": None},
        "a module alone": {"module": "os"},
        "a function of optimizers": an_object("keras.optimizers", "deserialize", {}),
    }


def places():
    """Where in `config.json` each of them is put."""

    def whole(config, part):
        return part

    def initialiser(config, part):
        config["config"]["embeddings_initializer"] = part

    def argument(config, part):
        config["config"]["dropout"] = [{"deep": [part]}]

    def rate(config, part):
        config["compile_config"]["optimizer"]["config"]["learning_rate"] = part

    def rate_of_schedule(config, part):
        config["compile_config"]["optimizer"]["config"]["learning_rate"]["config"]["decay_steps"] = part

    def optimizer(config, part):
        config["compile_config"]["optimizer"] = part

    def loss(config, part):
        config["compile_config"]["loss"] = part

    def metrics(config, part):
        config["compile_config"]["metrics"] = [part]

    def building(config, part):
        config["build_config"] = part

    found = (whole, initialiser, argument, rate, rate_of_schedule, optimizer, loss, metrics, building)
    return {each.__name__: each for each in found}


@pytest.mark.parametrize("place", places())
@pytest.mark.parametrize("kind", hostile(""))
def test_what_is_not_ours_is_refused_wherever_it_is_named(kind, place, members, write, refused, tmp_path):
    marker = tmp_path / "marker"
    config = json.loads(members[CONFIG])
    config = places()[place](config, hostile(marker)[kind]) or config
    refused(write({CONFIG: config}), CONFIG)
    assert not marker.exists()


def test_a_program_that_allows_unsafe_loading_changes_nothing(members, write, refused, tmp_path, monkeypatch):
    marker, config = tmp_path / "marker", json.loads(members[CONFIG])
    config["compile_config"]["loss"] = hostile(marker)["a lambda"]
    monkeypatch.setattr(keras.src.saving.serialization_lib, "in_safe_mode", lambda: False)
    refused(write({CONFIG: config}), "__lambda__")
    assert not marker.exists()


@pytest.mark.parametrize(
    "config",
    [
        b"[]",
        b"null",
        b"{}",
        b'{"config": {}}',
        b"[" * 100_000,
        b"not JSON",
        b"\xff\xfe",
        b'"' + b"x" * 2**20 + b'"',
    ],
)
def test_a_configuration_of_no_model(config, write, refused):
    refused(write({CONFIG: config}))


def test_a_class_of_ours_that_is_no_model(write, refused):
    adam = RowWiseAdam(0.1)
    refused(write({CONFIG: keras.saving.serialize_keras_object(adam)}), "RowWiseAdam, which is no model")


@pytest.mark.parametrize(
    ("name", "value"), [("num_items", 10**12), ("hidden_dim", 10**9), ("num_layers", 10**7)]
)
def test_sizes_that_the_weights_do_not_fill(name, value, members, write, refused):
    config = json.loads(members[CONFIG])
    config["config"][name] = value
    refused(write({CONFIG: config}), "asks for more weights")


# ---- members of the archive ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        "../outside.txt",
        "assets/../../outside.txt",
        "/tmp/outside.txt",
        "..\\outside.txt",
        "C:\\outside.txt",
        "assets/",
        "assets/vocabulary.txt",
        "model.weights.npz",
    ],
)
def test_a_member_of_another_name(name, write, refused):
    refused(write({name: b"x"}), "its members should be")


def test_a_member_less_or_twice(members, write, refused):
    path = write()
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr(CONFIG, members[CONFIG])
    refused(path, "its members should be")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(CONFIG, members[CONFIG])
    refused(path, "its members should be")


def test_a_member_that_is_a_link(members, write, refused):
    path = write()
    with zipfile.ZipFile(path, "w") as archive:
        for name in (CONFIG, METADATA):
            archive.writestr(name, members[name])
        link = zipfile.ZipInfo(WEIGHTS)
        link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    refused(path, f"{WEIGHTS} in it is a link")


def test_members_that_grow(write, refused):
    small = write({WEIGHTS: bytes(2**26)}, compression=zipfile.ZIP_DEFLATED)
    assert small.stat().st_size < 2**20
    refused(small, "compressed")


def test_a_size_that_is_a_lie(write, refused):
    path = write()
    data = bytearray(path.read_bytes())
    entry = data.rindex(WEIGHTS.encode()) - 46  # in the central directory
    assert data[entry : entry + 4] == b"PK\x01\x02"
    data[entry + 20 : entry + 28] = (2**31).to_bytes(4, "little") * 2
    path.write_bytes(data)
    refused(path)


# ---- weights ------------------------------------------------------------------------------------


def external_storage(file, folder):
    shape = file[ITEM_TABLE].shape
    del file[ITEM_TABLE]
    file.create_dataset(ITEM_TABLE, shape, "f4", external=[(str(folder / "secret"), 0, h5py.h5f.UNLIMITED)])


def virtual(file, folder):
    shape = file[ITEM_TABLE].shape
    del file[ITEM_TABLE]
    layout = h5py.VirtualLayout(shape, "f4")
    layout[:] = h5py.VirtualSource(str(folder / "secret"), "x", shape=shape)
    file.create_virtual_dataset(ITEM_TABLE, layout)


def compressed(file, folder):
    del file[ITEM_TABLE]
    file.create_dataset(ITEM_TABLE, (6, 10**9), "f4", chunks=(6, 10**4), compression="gzip")


def never_written(file, folder):
    del file[ITEM_TABLE]
    file.create_dataset(ITEM_TABLE, (10**6, 10**6), "f4")


def texts(file, folder):
    del file[ITEM_TABLE]
    file[ITEM_TABLE] = np.array([b"a", b"bb"], object)


def linked(link):
    def edit(file, folder):
        del file[ITEM_TABLE]
        file[ITEM_TABLE] = link(folder)

    return edit


def twice(file, folder):
    file["embedding/vars/1"] = file[ITEM_TABLE]


def in_a_circle(file, folder):
    file["embedding/again"] = file["embedding"]


HARM = {
    "external storage": (external_storage, "no plain array"),
    "virtual": (virtual, "no plain array"),
    "compressed": (compressed, "no plain array"),
    "never written": (never_written, "no plain array"),
    "texts": (texts, "no plain array"),
    "an external link": (
        linked(lambda folder: h5py.ExternalLink(str(folder / "secret"), "/x")),
        "ExternalLink",
    ),
    "a soft link": (linked(lambda folder: h5py.SoftLink("/vars")), "SoftLink"),
    "two names": (twice, "two names"),
    "a circle": (in_a_circle, "two names"),
}


@pytest.mark.parametrize("kind", HARM)
def test_weights_that_are_no_plain_arrays(kind, members, write, refused, tmp_path):
    edit, reason = HARM[kind]
    (tmp_path / "secret").write_bytes(bytes(4096))
    data = io.BytesIO(members[WEIGHTS])
    with h5py.File(data, "r+") as file:
        edit(file, tmp_path)
    refused(write({WEIGHTS: data.getvalue()}), reason)


def test_weights_that_are_no_hdf5(write, refused):
    refused(write({WEIGHTS: b"\x80\x04N."}))


@pytest.mark.parametrize(
    ("name", "values"),
    [("columns", [1, 2, 9]), ("columns", [-1, 2, 3]), ("row_begin", [0, 0, 2**31 - 1, -(2**31), 3, 3, 3])],
)
def test_a_table_of_cooccurrences_that_points_outside_of_itself(name, values, make_split, tmp_path):
    model, path = ItemCooccurrence(5), tmp_path / "model.keras"
    table = {"row_begin": [0, 0, 1, 2, 3, 3, 3], "columns": [1, 2, 3], "values": [1.0, 1.0, 1.0]}
    model._set_table(**{key: np.array(value) for key, value in table.items()})
    model.compile()
    model.save(path)
    assert load_model(path).columns.numpy().tolist() == [1, 2, 3]
    model._set_table(**{key: np.array(value) for key, value in (table | {name: values}).items()})
    model.save(path)
    with pytest.raises(InputError, match=r"model\.keras"):
        load_model(path)


# ---- folders ------------------------------------------------------------------------------------


@pytest.fixture
def copied(counted_run, tmp_path):
    """A run folder of its own."""
    return shutil.copytree(counted_run, tmp_path / "run")


FILES = [
    "config.yaml",
    "model.keras",
    "items.parquet",
    "users.parquet",
    "interactions.parquet",
    "metrics.json",
]


@pytest.mark.parametrize("name", FILES)
def test_a_run_folder_with_a_link_that_leads_out(name, copied, tmp_path):
    shutil.move(copied / name, tmp_path / name)
    (copied / name).symlink_to(tmp_path / name)
    for reads in (load_run, read_metrics, lambda run: check_free(run, overwrite=True)):
        with pytest.raises(InputError, match=rf"without links that lead out of it\. Received: .*{name}\.$"):
            reads(copied)


def test_links_within_a_run_folder_and_to_it_are_fine(copied, tmp_path):
    (copied / "kept").mkdir()
    shutil.move(copied / "model.keras", copied / "kept" / "best.keras")
    (copied / "model.keras").symlink_to("kept/best.keras")
    (tmp_path / "link").symlink_to(copied)
    assert load_run(tmp_path / "link").model.num_items == 12


def test_a_configuration_that_asks_yaml_for_objects(copied, tmp_path):
    (copied / "config.yaml").write_text(
        f"data: !!python/object/apply:os.system ['touch {tmp_path / 'marker'}']\n"
    )
    with pytest.raises(InputError, match="YAML"):
        load_run(copied)
    assert not (tmp_path / "marker").exists()


def test_an_export_with_a_link_that_leads_out(counted_version, tmp_path):
    version = shutil.copytree(counted_version, tmp_path / "1", symlinks=True)
    Loaded(version)  # links within it are fine
    shutil.move(version / "serving" / "saved_model.pb", tmp_path)
    (version / "serving" / "saved_model.pb").symlink_to(tmp_path / "saved_model.pb")
    for reads in (Loaded, serve_check):
        with pytest.raises(InputError, match="without links that lead out"):
            reads(version)


@pytest.mark.parametrize("name", ["../items.txt", "/etc/passwd", "..\\items.txt", ".."])
def test_an_export_that_names_a_file_elsewhere(name, counted_version, tmp_path):
    version = shutil.copytree(counted_version / "serving", tmp_path / "1")
    path = version / "saved_model.pb"
    found = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    assert found.meta_graphs[0].asset_file_def[0].filename == "items.txt"
    found.meta_graphs[0].asset_file_def[0].filename = name
    path.write_bytes(found.SerializeToString())
    with pytest.raises(InputError, match="whose files lie in it"):
        Loaded(version)


def test_an_export_that_is_none(tmp_path):
    with pytest.raises(InputError, match="should hold a SavedModel"):
        Loaded(tmp_path)
    (tmp_path / "saved_model.pb").write_bytes(b"\xff" * 9)
    with pytest.raises(InputError, match="should hold a SavedModel"):
        Loaded(tmp_path)
