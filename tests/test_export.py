"""Exported models: the same answers as the trained one, in the log's own ids, without this package."""

import dataclasses
import re
import shutil
import subprocess
import sys

import numpy as np
import polars as pl
import pytest
import tensorflow as tf
from markdown_it import MarkdownIt

from metasgcl_tf import recommending
from metasgcl_tf.data.splitting import leave_one_out
from metasgcl_tf.errors import InputError
from metasgcl_tf.export import export, published, write_vocabulary
from metasgcl_tf.models import Pop
from metasgcl_tf.reports.model_card import model_card
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.serving import Loaded

FIRST = 2**53 + 1  # no float holds it


@pytest.fixture(scope="module")
def counted(counted_version):
    """ItemCooccurrence, 64-bit ids."""
    return Loaded(counted_version)


def ask(endpoints, history, **inputs):
    """The items and scores that `serving_default` answers histories of text ids with."""
    answer = endpoints.ask(history=history, **inputs)
    return answer["item_ids"].astype(str).tolist(), answer["scores"]


HISTORIES = {"one": ["i3"], "two": ["i3", "i4"], "long": [f"i{n % 12}" for n in range(30)]}


def padded(histories, fill=""):
    longest = max(map(len, histories))
    return [[fill] * (longest - len(row)) + row for row in histories]


# ---- the same answers -----------------------------------------------------------------------------


@pytest.mark.parametrize("exclude_seen", [True, False])
def test_serving_answers_as_the_trained_model_does(run, endpoints, exclude_seen):
    expected = recommending.recommend(run, HISTORIES, k=7, exclude_seen=exclude_seen)
    items, scores = ask(endpoints, padded(HISTORIES.values()), k=7, exclude_seen=exclude_seen)
    for name, found, values in zip(HISTORIES, items, scores, strict=True):
        rows = expected.filter(user=name)
        assert [item for item in found if item] == rows["item"].to_list()
        np.testing.assert_allclose(values[np.isfinite(values)], rows["score"], rtol=1e-5, atol=1e-6)


def test_core_answers_in_dense_ids(run, exported):
    dense = np.zeros((2, run.model.max_length), np.int32)
    dense[0, -1:], dense[1, -2:] = run.log.item_indices(["i3"]), run.log.item_indices(["i3", "i4"])
    answer = Loaded(exported / "core").ask(history=dense)
    items, scores = run.model.recommend(dense, 4)
    np.testing.assert_array_equal(answer["item_ids"], items)
    np.testing.assert_allclose(answer["scores"], scores, rtol=1e-5, atol=1e-6)


def test_64_bit_ids_stay_whole(counted):
    answer = counted.ask(history=[[-1, FIRST + 4]], k=1)
    assert answer["item_ids"].tolist() == [[FIRST + 5]]
    assert "embed" not in counted.signatures  # nothing but counts


@pytest.mark.slow  # tests/serving/test_c_program.py loads it without Python
def test_tensorflow_alone_loads_it_where_a_server_looks_for_it(exported):
    code = (
        "import sys, tensorflow as tf\n"
        f"recommend = tf.saved_model.load({str(exported)!r}).signatures['serving_default']\n"
        "nobody = tf.zeros([0], tf.string)\n"
        "asked = {'k': tf.constant(1), 'exclude_seen': tf.constant(True), 'allow': nobody, 'deny': nobody}\n"
        "asked['samples'] = tf.constant(0)\n"
        "answer = recommend(history=tf.constant([['i3', 'i4', 'i5']]), **asked)\n"
        "print(answer['item_ids'].numpy()[0, 0].decode())\n"
        "assert not any(name.startswith('metasgcl') for name in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == ["i6"]


# ---- what may be asked ----------------------------------------------------------------------------


def test_what_is_left_out_of_a_request_has_a_default(endpoints):
    items, _ = ask(endpoints, [["i3", "i4", "i5"]])
    assert len(items[0]) == 10 and items[0][0] == "i6" and not {"i3", "i4", "i5"} & set(items[0])


def test_unknown_ids_are_skipped_wherever_they_stand(endpoints):
    expected, scores = ask(endpoints, [["i3", "i4", "i5"]], k=3)
    for row in (["", "i3", "i4", "i5"], ["i3", "nowhere", "i4", "i5"], ["i3", "i4", "i5", "", ""]):
        items, same = ask(endpoints, [row], k=3)
        assert items == expected
        np.testing.assert_allclose(same, scores, rtol=1e-5, atol=1e-6)
    items, same = ask(endpoints, [[b"\xff\xfe", "i3", "i4", "i5"]], k=3)  # not UTF-8
    assert items == expected


@pytest.mark.parametrize("row", [["nowhere"], [""], []])
def test_a_history_of_nothing_known_is_answered_by_popularity(run, endpoints, row):
    answer = endpoints.ask(history=np.array(row, object).reshape(1, len(row)), k=12)
    popular = Pop(12)
    popular.adapt(leave_one_out(run.log))
    items, scores = popular.recommend(np.zeros((1, 1), np.int32), 12)
    assert answer["item_ids"][0].astype(str).tolist() == run.log.raw_items(items[0])
    np.testing.assert_array_equal(answer["scores"], scores)


def test_allow_and_deny(endpoints):
    history = [["i3", "i4", "i5"]]
    everything, _ = ask(endpoints, history, k=9)
    items, scores = ask(endpoints, history, k=4, allow=["i1", "i6", "i3", "nowhere"])
    assert items == [[item for item in everything[0] if item in ("i1", "i6")] + ["", ""]]  # i3 was seen
    assert np.isfinite(scores[0]).tolist() == [True, True, False, False]
    items, _ = ask(endpoints, history, k=8, deny=["i6", "nowhere"])
    assert items == [[item for item in everything[0] if item != "i6"]]
    items, _ = ask(endpoints, history, k=1, allow=["i1", "i6"], deny=["i6"])
    assert items == [["i1"]]
    items, _ = ask(endpoints, history, k=2, allow=["nowhere"])
    assert items == [["", ""]]


def test_candidates_are_sorted(endpoints):
    everything, scores = ask(endpoints, [["i3", "i4"], ["i9", "i10"]], k=12, exclude_seen=False)
    histories, candidates = [["i3", "i4"], ["i9", "i10"]], [["i1", "?", "i5", "i11"]]
    answer = endpoints.ask("score_items", history=histories, candidates=candidates)
    for row, found in enumerate(answer["item_ids"].astype(str).tolist()):
        assert found == [item for item in everything[row] if item in ("i1", "i5", "i11")] + ["?"]
        places = [everything[row].index(item) for item in found[:3]]
        np.testing.assert_allclose(answer["scores"][row, :3], scores[row][places], rtol=1e-5)
    assert np.isneginf(answer["scores"][:, 3]).all()


def test_vectors_give_the_scores(exported, endpoints):
    vectors = endpoints.ask("embed", history=[["i3", "i4"]])["vectors"]
    products = vectors @ np.load(exported / "items.npy").T
    raw = (exported / "serving" / "assets" / "items.txt").read_text().splitlines()
    items, scores = ask(endpoints, [["i3", "i4"]], k=12, exclude_seen=False)
    np.testing.assert_allclose(products[0, [raw.index(item) for item in items[0]]], scores[0], rtol=1e-5)


@pytest.mark.parametrize("k", [0, -1, 13])
def test_an_impossible_k_is_named_and_the_next_request_is_served(endpoints, k):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"`k` should be between 1 and 12\. Received"):
        ask(endpoints, [["i3"]], k=k)
    assert ask(endpoints, [["i3", "i4", "i5"]], k=1)[0] == [["i6"]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"history": [[1, 2]]}, "`history` should be text. Received: `history` = [1]."),
        ({"history": [["i3"]], "k": 1.5}, "`k` should be of type int32. Received: `k` = 'float64'."),
        ({"histroy": [["i3"]]}, "did you mean 'history'"),
        ({"endpoint": "recommend"}, "`endpoint` should be one of"),
    ],
)
def test_a_wrong_request_is_refused_by_name(endpoints, inputs, message):
    with pytest.raises(InputError, match=re.escape(message)):
        endpoints.ask(**inputs)


def test_a_very_long_history(endpoints):
    assert ask(endpoints, [[f"i{n % 12}" for n in range(10_000)]], k=1, exclude_seen=False)[0] == [["i4"]]


# ---- versions -------------------------------------------------------------------------------------


def test_versions_count_up_and_leave_the_others_alone(counted_run, tmp_path):
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "mine").write_text("kept")
    (tmp_path / "notes").touch()
    assert export(counted_run, tmp_path).name == "8"
    assert (tmp_path / "7" / "mine").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["7", "8", "notes"]  # nothing half written
    assert not (tmp_path / "8" / "items.npy").exists()


def test_a_number_that_is_taken_meanwhile_is_left_alone(tmp_path, monkeypatch):
    for name in ("writing", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename, taken = type(tmp_path).rename, []

    def raced(self, target):
        if not taken:
            taken.append(rename(tmp_path / "other", target))
        return rename(self, target)

    monkeypatch.setattr(type(tmp_path), "rename", raced)
    assert published(tmp_path / "writing", tmp_path) == tmp_path / "2"
    assert (tmp_path / "1" / "other").exists() and (tmp_path / "2" / "writing").exists()


def test_the_card_says_what_it_is_and_how_good(exported, run):
    card = (exported / "model_card.md").read_text()
    assert card.startswith("# Meta-SGCL on cycle\n") and "item ids are text" in card
    assert "| Meta-SGCL | kept |" in card and "tensorflow 2" in card


def test_the_card_shows_names_from_outside_as_they_are(run, trained_run):
    data = dataclasses.replace(run.config.data, data="logs/a|b`<script>\n# x.csv")
    config = dataclasses.replace(run.config, data=data)
    report = read_metrics(trained_run)
    report["baselines"]["<img>|"] = report["baselines"]["pop"]
    report |= {"command": "metasgcl `x` <b>", "protocol": "<i>", "machine": "|<b>", "commit": "<b>"}
    report["versions"] = {"<b>": "*"}
    card = model_card(dataclasses.replace(run, config=config), report)
    shown = MarkdownIt("commonmark").enable("table").render(card)
    known = {"h1", "h2", "p", "code", "table", "thead", "tbody", "tr", "th", "td"}
    assert set(re.findall(r"<(\w+)", shown)) == known
    assert "<h1>Meta-SGCL on a|b`&lt;script&gt; # x</h1>" in shown
    assert "<code>logs/a|b`&lt;script&gt; # x.csv</code>" in shown
    assert ">&lt;img&gt;|</td>" in shown and "<code>metasgcl `x` &lt;b&gt;</code>" in shown


def test_the_card_of_an_update_names_what_came_later(exported, run, trained_run):
    card = model_card(run, read_metrics(trained_run) | {"update": {"data": "later.csv"}})
    assert "cycle.csv` and, later, `later.csv`; item ids" in card


def test_a_training_that_is_not_over_is_not_exported(trained_run, tmp_path):
    shutil.copytree(trained_run, tmp_path / "run")
    (tmp_path / "run" / "metrics.json").unlink()
    (tmp_path / "run" / "model.keras").write_bytes(b"not looked at")
    with pytest.raises(InputError, match="`run` should be one whose training is over"):
        export(tmp_path / "run", tmp_path / "versions")
    assert not (tmp_path / "versions").exists()


def test_what_cannot_be_exported(trained_run, tmp_path):
    with pytest.raises(InputError, match=r"one line, to be exported\. Received: 'a\\nb'"):
        write_vocabulary(pl.Series(["a\nb"]), tmp_path / "items.txt")
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"`to` should be a folder that can be written\. Received: .*file"):
        export(trained_run, tmp_path / "file")
    with pytest.raises(InputError, match="`core_k` should be at least 1"):
        export(trained_run, tmp_path, core_k=0)
