"""What a report shows of trials whose answer is known."""

import json
import math
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from metasgcl_tf.errors import InputError
from metasgcl_tf.tuning import figures
from metasgcl_tf.tuning.best import verdict
from metasgcl_tf.tuning.importance import importance
from metasgcl_tf.tuning.report import page, write_report
from metasgcl_tf.tuning.search import write_search
from metasgcl_tf.tuning.trials import TrialResult, best_first
from tests.tuning.conftest import SPACE, made_up_score


def trial(number, values=None, score=None, **more):
    values = values or {"temperature": 1.0, "hidden_dim": 64, "dropout": 0.1}
    shared = {"best_epoch": 2, "epochs": 2, "seconds": 60.0, "ended": 60.0 * (number + 1), "reason": ""}
    status = "FAILED" if score is None else "COMPLETED"
    history = [] if score is None else [score / 2, score]
    fields = {
        "name": f"trial_{number}",
        "values": values,
        "status": status,
        "score": score,
        "history": history,
    }
    return TrialResult(number=number, **(shared | fields | more))


@pytest.fixture(scope="module")
def drawn():
    """40 trials over `SPACE`, one of which failed; the score ignores dropout."""
    random = np.random.default_rng(1)
    found = []
    for number in range(40):
        values = {
            "temperature": float(np.exp(random.uniform(math.log(0.1), math.log(10)))),
            "hidden_dim": int(random.choice([32, 64, 128])),
            "dropout": float(random.uniform(0, 0.5)),
        }
        found.append(trial(number, values, made_up_score(values)))
    return [*found, trial(40, reason="NonFiniteLossError: <b>nan</b>")]


def test_what_moves_the_score_is_important_and_what_does_not_is_not(drawn):
    found = importance(drawn, SPACE)
    assert list(found.shares) == ["temperature", "hidden_dim", "dropout"]
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.shares["temperature"] > 0.8 and found.shares["dropout"] < 0.03
    assert found.explained > 0.7


def test_nothing_is_said_of_too_few_trials_or_of_scores_that_are_alike(drawn):
    assert importance(drawn[:7], SPACE) is None
    assert importance([trial(number, score=0.5) for number in range(9)], SPACE) is None


def test_axes_are_logarithmic_where_the_space_is_and_have_titles(drawn):
    space = SPACE | {"similarity": ["dot", "cosine"], "num_heads": [1, 2, 4, 8], "num_layers": [1, 2, 3]}
    values = {"similarity": "cosine", "num_heads": 4, "num_layers": 2}
    trials = [trial(t.number, t.values | values, t.score) for t in drawn[:5]]
    layout = figures.by_setting(trials, space, "valid NDCG@10").layout
    axes = {layout[f"xaxis{n or ''}"].title.text: layout[f"xaxis{n or ''}"].type for n in ("", 2, 3, 4, 5, 6)}
    assert axes == {
        "temperature (τ)": "log",
        "hidden_dim (d)": "linear",
        "dropout": "linear",
        "similarity": "linear",
        "num_heads": "log",
        "num_layers": "linear",
    }
    assert layout.yaxis.title.text == "valid NDCG@10"
    assert layout.xaxis4.ticktext == ("dot", "cosine")
    ticks = figures.parallel(trials, SPACE, "score").data[0].dimensions[0]
    assert ticks.ticktext == ("0.1", "1", "10") and ticks.tickvals == pytest.approx(np.log([0.1, 1, 10]))


def test_the_best_so_far_only_rises(drawn):
    line, points, *_ = figures.over_time(drawn, "score").data
    scores = [t.score for t in drawn if t.score is not None]
    assert list(line.y) == list(np.maximum.accumulate(scores))
    assert list(points.x) == [t.ended / 60 for t in drawn if t.score is not None]


def test_the_verdict_compares_with_the_preset():
    first, second, failed = trial(0, score=0.4), trial(1, score=0.5), trial(0, reason="nan")
    assert "valid NDCG@10 0.5000 in trial_1" in verdict([first, second], "val_ndcg@10")
    assert "0.4000 of the preset, trial_0 (+25.0%)" in verdict([first, second], "val_ndcg@10")
    assert verdict([second, trial(2, score=0.5)], "val_hr@5").endswith(
        "(temperature 1, hidden_dim 64, dropout 0.1)."
    )
    assert "preset, trial_0, did not finish" in verdict([failed, second], "val_ndcg@10")
    assert "is the best point" in verdict([trial(0, score=0.5), trial(1, score=0.5)], "val_ndcg@10")
    assert [t.number for t in best_first([failed, second, trial(2, score=0.5)])] == [1, 2, 0]


@pytest.fixture
def folder(make_search, search_made_up, made_up_trials, tmp_path):
    search = make_search()
    search_made_up(search, tmp_path, 5)
    counts = {"users": 3, "items": 4, "interactions": 12}
    write_search(tmp_path, search, {"counts": counts, "versions": {}, "command": "metasgcl tune </script>"})
    return tmp_path


def test_a_report_is_made_of_the_folder_alone_and_needs_nothing_else(folder):
    page_file, _ = write_report(folder)
    text = page_file.read_text(encoding="utf-8")
    body = text[text.index("<body>") :]
    assert not re.search(r'(src|href)="?(https?:)?//', text[: text.index("<style>")] + body)
    assert [f"trial_{n}" in body for n in range(5)] == [True] * 5
    assert body.count("plotly-graph-div") == 3  # importances need more trials
    assert "not trained on the whole budget yet" in body
    write_report(folder)  # again


def test_text_from_outside_is_escaped(folder, drawn):
    search = json.loads((folder / "search.json").read_text())
    search["config"]["data"] = "</title><script>alert(1)</script>.csv"
    space = SPACE | {"similarity": ["dot", "<img src=x onerror=alert(2)>"]}
    values = {"similarity": "<img src=x onerror=alert(2)>"}
    trials = [trial(t.number, t.values | values, t.score, reason=t.reason) for t in drawn]
    text = page(search | {"space": space}, trials, {})
    own = re.sub(r"<script>/\*\*.*?</script>", "", text, count=1, flags=re.DOTALL)  # but for Plotly itself
    assert "<script>alert" not in own and "<img" not in own and "<b>nan" not in own
    assert "&lt;b&gt;nan&lt;/b&gt;" in own and "metasgcl tune &lt;/script&gt;" in own


HOSTILE = (
    "</script><script>pwned = 1</script><img src=x onerror='pwned = 2'>\"'--><b>x</b>\u2028</title></style>"
)


def hostile_page(folder, words):
    """A page of which every text that comes from data, settings or files is, or has, the words."""
    search = json.loads((folder / "search.json").read_text())
    search["config"] |= {"data": f"{words}.csv"}
    versions = {words: words}
    search |= {"command": words, "machine": words, "commit": words, "versions": versions, "tuner": words}
    search |= {"objective": f"val_{words}", "space": SPACE | {"similarity": ["dot", words], words: [1, 2]}}
    values = {"temperature": 1.0, "hidden_dim": 64, "dropout": 0.1, "similarity": words, words: 2}
    trials = [trial(n, values | {"dropout": n / 20}, n / 20, name=words) for n in range(10)]
    trials += [trial(11, values, status=words, reason=words, name=words)]
    numbers = {
        part: dict.fromkeys(["hr@5", "hr@10", "ndcg@5", "ndcg@10"], 0.1) for part in ("masked", "kept")
    }
    run = {
        "model": words,
        "test": numbers,
        "valid": numbers,
        "seed": words,
        "seconds": 1.0,
        "protocol": words,
    }
    return page(search, trials, run)


class Structure(HTMLParser):
    """Every tag with the names of its attributes, in order, as a browser finds them."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, [name for name, _ in attributes]))

    def handle_endtag(self, tag):
        self.found.append(tag)


def test_hostile_text_changes_nothing_of_the_page_but_words(folder, tmp_path):
    hostile, harmless = (Structure(hostile_page(folder, words)).found for words in (HOSTILE, "words"))
    assert hostile == harmless and ("img", ["src", "onerror"]) not in hostile
    if os.environ.get("METASGCL_PAGE"):  # to look at it in a browser
        Path(os.environ["METASGCL_PAGE"]).write_text(hostile_page(folder, HOSTILE), encoding="utf-8")


def test_a_folder_that_names_its_trials_by_paths_is_refused(folder, search_made_up, make_search, tmp_path):
    state_file, elsewhere = folder / "trials" / "oracle.json", folder.parent / "trial.json"
    state = json.loads(state_file.read_text())
    for name in ("0/../../../x", "..", "", "\u0661", 3, None):
        state_file.write_text(json.dumps(state | {"start_order": [name]}))
        for reads in (write_report, lambda folder: search_made_up(make_search(), folder, 5)):
            with pytest.raises(InputError, match=r"`out` should be a folder whose trials have numbers"):
                reads(folder)
    state_file.write_text(json.dumps(state))
    trial_file = folder / "trials" / "trial_2" / "trial.json"
    trial_file.write_text(json.dumps(json.loads(trial_file.read_text()) | {"trial_id": "2/../../.."}))
    for reads in (write_report, lambda folder: search_made_up(make_search(), folder, 5)):
        with pytest.raises(InputError, match="`out` should be"):
            reads(folder)
    assert not elsewhere.exists()


def test_a_search_with_a_link_that_leads_out_is_refused(folder, tmp_path_factory):
    target = tmp_path_factory.mktemp("elsewhere") / "report.html"
    target.write_text("mine")
    (folder / "report.html").symlink_to(target)
    with pytest.raises(InputError, match="without links that lead out of it"):
        write_report(folder)
    assert target.read_text() == "mine"


def test_tensorboard_has_values_and_scores(folder):
    import tensorflow as tf
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams import plugin_data_pb2

    write_report(folder)
    states = [json.loads(p.read_text()) for p in sorted((folder / "trials").glob("*/trial.json"))]
    for state in states:
        events = EventAccumulator(str(folder / "tensorboard" / f"trial_{state['trial_id']}"))
        events.Reload()
        start = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        found = plugin_data_pb2.HParamsPluginData.FromString(start).session_start_info.hparams
        assert {n: v.number_value for n, v in found.items()} == {
            name: pytest.approx(state["hyperparameters"]["values"][name]) for name in SPACE
        }
        (score,) = events.Tensors("score")
        assert float(tf.make_ndarray(score.tensor_proto)) == pytest.approx(state["score"])
        assert len(events.Tensors("val_ndcg@10")) == 2


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(InputError, match="needs a trial that finished"):
        write_report(tmp_path)
