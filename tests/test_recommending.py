"""Recommendations in raw ids: on a cycle, the next item is known."""

import dataclasses
import io
import warnings

import numpy as np
import polars as pl
import pytest

from metasgcl_tf import recommendation_files, recommending
from metasgcl_tf.data.readers import Columns
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import BPRMF
from metasgcl_tf.reports.tables import recommendations_table
from metasgcl_tf.run_folder import load_run

FIRST = 2**53 + 1  # no float holds it


@pytest.fixture(scope="module")
def trained(trained_run):
    return load_run(trained_run)


@pytest.fixture(scope="module")
def counted(counted_run):
    return load_run(counted_run)


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "You are using a softmax over axis")
        yield


def best(run, history, **options):
    return recommending.recommend(run, {"": history}, **options)["item"].to_list()


def test_the_next_item_comes_first_in_text_ids(trained):
    assert best(trained, ["i3", "i4", "i5"], k=1) == ["i6"]
    assert best(trained, ["i9", "i10", "i11"], k=1) == ["i0"]


def test_the_next_item_comes_first_in_64_bit_ids(counted):
    assert best(counted, [FIRST + 4], k=1) == [FIRST + 5]
    assert best(counted, [str(FIRST + 4)], k=1) == [FIRST + 5]  # as typed on a command line
    found = recommending.recommend(counted, {"": [FIRST]}, k=2)
    assert found.schema == {"user": pl.String, "rank": pl.Int64, "item": pl.Int64, "score": pl.Float32}


def test_a_user_of_the_log_has_the_whole_history(trained):
    history = trained.log.raw_items(trained.log.history(recommending.user_of(trained.log, "u7")))
    assert history == [f"i{(7 + step) % 12}" for step in range(18)]
    assert best(trained, history, k=1, exclude_seen=False) == [f"i{(7 + 18) % 12}"]
    with pytest.raises(InputError, match=r"`user` should be one of the 36 users.*Received: `user` = 'u36'"):
        recommending.user_of(trained.log, "u36")


def test_a_model_that_knows_its_users_is_told_who_they_are(trained):
    model = BPRMF(trained.log.num_items, num_users=36, hidden_dim=4)
    histories = {"first": ["i1"], "nothing": [], "last": ["i5"]}
    run = dataclasses.replace(trained, model=model)
    with pytest.warns(UserWarning, match="hold no item of the log"):
        found = recommending.recommend(run, histories, k=12, exclude_seen=False, user_index=[7, 8, 35])
    for name, user in (("first", 7), ("last", 35)):
        rows = found.filter(user=name)
        expected = model.users.table[user + 1].numpy() @ model.embedding.table.numpy().T
        items = trained.log.item_indices(rows["item"].to_list())
        np.testing.assert_allclose(rows["score"], expected[items], rtol=1e-4, atol=1e-7)


def test_seen_items_are_excluded_unless_asked_for(trained):
    history = ["i3", "i4", "i5", "i6", "i7", "i5"]
    assert not {"i3", "i4", "i5", "i6", "i7"} & set(best(trained, history, k=7))
    assert set(best(trained, history, k=12, exclude_seen=False)) == {f"i{n}" for n in range(12)}


def test_ranks_count_from_one_and_scores_fall(trained):
    found = recommending.recommend(trained, {"": ["i3"]}, k=5)
    assert found["rank"].to_list() == [1, 2, 3, 4, 5]
    assert found["score"].is_sorted(descending=True)


def test_many_histories_come_back_in_their_order_as_if_asked_alone(trained):
    histories = {
        name: [f"i{(start + step) % 12}" for step in range(length)]
        for name, start, length in [("b", 0, 3), ("a", 5, 9), (7, 2, 1)]
    }
    histories |= {f"more {n}": [f"i{n % 12}"] for n in range(recommending.BATCH)}
    found = recommending.recommend(trained, histories, k=3)
    assert found["user"].to_list() == [str(name) for name in histories for _ in range(3)]
    for name in ("b", "a", 7):
        alone = recommending.recommend(trained, {name: histories[name]}, k=3)
        together = found.filter(pl.col("user") == str(name))
        assert alone["item"].to_list() == together["item"].to_list()
        assert alone["score"].to_list() == pytest.approx(together["score"].to_list(), abs=1e-5)


def test_unknown_items_are_left_out_with_one_warning(trained):
    known = best(trained, ["i3", "i4"], k=3)
    with pytest.warns(UserWarning) as caught:
        assert best(trained, ["i3", "zzz", "i4", "zzz", "yyy"], k=3) == known
    assert [str(w.message) for w in caught] == ["Items that are not in the log are ignored (2): zzz, yyy."]


@pytest.mark.parametrize("history", [[], ["zzz"]])
def test_without_a_known_item_popularity_answers(tmp_path, history):
    from metasgcl_tf.config import build_config
    from metasgcl_tf.training import train

    # Popularity is that of the training part: everything but the last two of each user.
    users = {"a": "wwwxz", "b": "wxxyz", "c": "wwyyz"}
    rows = [f"{user},{item}" for user, items in users.items() for item in items]
    (tmp_path / "log.csv").write_text("\n".join(["user,item", *rows]))
    settings = {"data": str(tmp_path / "log.csv"), "k_core": 1, "model": "item_cooccurrence"}
    train(build_config(settings), tmp_path / "run")
    with pytest.warns(UserWarning) as caught:
        found = recommending.recommend(load_run(tmp_path / "run"), {"new": history}, k=3)
    message = "1 of 1 histories hold no item of the log: the most popular items follow."
    assert [str(warning.message) for warning in caught][len(history) :] == [message]
    assert found["item"].to_list() == ["w", "x", "y"]
    assert found["score"].to_list() == [6, 2, 1]


def test_a_history_of_everything_leaves_nothing_and_says_so(counted):
    histories = {"all": [FIRST + n for n in range(12)], "one": [FIRST]}
    with pytest.warns(UserWarning, match="1 of 2 histories hold every item"):
        found = recommending.recommend(counted, histories, k=1)
    assert found["user"].to_list() == ["one"]


@pytest.mark.parametrize("k", [0, -1, 13])
def test_k_out_of_range(trained, k):
    with pytest.raises(InputError, match=f"`k` should be between 1 and .* 12. Received: `k` = {k}"):
        best(trained, ["i1"], k=k)


def test_no_history_at_all(trained):
    with pytest.raises(InputError, match="at least one history"):
        recommending.recommend(trained, {})


def test_histories_are_read_in_time_order(tmp_path):
    (tmp_path / "new.csv").write_text("user,item,time\nb,x,3\na,y,2\nb,z,1\na,x,5\n")
    assert recommendation_files.read_histories(tmp_path / "new.csv") == {"b": ["z", "x"], "a": ["y", "x"]}
    (tmp_path / "new.txt").write_text("7 501 502\n8 501\n")
    assert recommendation_files.read_histories(tmp_path / "new.txt") == {7: [501, 502], 8: [501]}


def test_histories_have_the_columns_of_the_log_or_usual_ones_or_those_named(tmp_path):
    of_the_log, named = Columns("who", "what", "when"), Columns("a", "b", "c")
    read = recommendation_files.read_histories
    expected = {"u": ["z", "x"]}
    for header in ("who,what,when", "user,item,time"):
        (tmp_path / "new.csv").write_text(f"{header}\nu,x,3\nu,z,1\n")
        assert read(tmp_path / "new.csv", None, of_the_log) == expected
    (tmp_path / "new.txt").write_text("u z x\n")
    assert read(tmp_path / "new.txt", None, of_the_log) == expected
    (tmp_path / "new.csv").write_text("a,b,c\nu,x,3\nu,z,1\n")
    assert read(tmp_path / "new.csv", named, of_the_log) == expected
    with pytest.raises(InputError, match="name it with --user-col"):
        read(tmp_path / "new.csv", None, of_the_log)
    (tmp_path / "new.csv").write_text("who,what,when\nu,,3\n")
    with pytest.raises(InputError, match="line 2"):  # of the value, not of the columns
        read(tmp_path / "new.csv", None, of_the_log)


def test_titles_stand_beside_their_items(tmp_path, counted):
    (tmp_path / "titles.tsv").write_text(f'item\ttitle\n{FIRST + 1}\t5" pipe\n{FIRST + 9}\t\n')
    titles = recommendation_files.read_titles(tmp_path / "titles.tsv")
    assert titles == {str(FIRST + 1): '5" pipe', str(FIRST + 9): ""}
    found = recommendation_files.with_titles(recommending.recommend(counted, {"": [FIRST]}, k=2), titles)
    assert found.columns == ["user", "rank", "item", "title", "score"]
    assert found["title"].to_list()[0] == '5" pipe'


def test_a_table_keeps_markup_spaces_and_long_ids():
    from rich.console import Console

    long = "x" * 150
    found = pl.DataFrame(
        {"user": ["[red]ü", "b"], "rank": [1, 1], "item": ["[bold]a b[/]", long], "score": [0.5, 0.25]}
    )
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(recommendations_table(found))
    text = console.export_text()
    assert "[red]ü" in text and "[bold]a b[/]" in text
    assert text.count("x") == 150 and "…" not in text
    assert max(map(len, text.splitlines())) <= 80


def test_recommendations_are_written_but_never_over_what_was_read(tmp_path, counted):
    found = recommending.recommend(counted, {"me": [FIRST]}, k=1)
    out, source = tmp_path / "out.csv", tmp_path / "in.csv"
    source.write_text("precious")
    recommendation_files.check_out(out, [source, tmp_path / "none"])
    recommendation_files.write_recommendations(found, out)
    recommendation_files.check_out(out, [source, tmp_path / "none"])
    assert pl.read_csv(out).select("user", "rank", "item").rows() == [("me", 1, FIRST + 1)]
    with pytest.raises(InputError, match="another file"):
        recommendation_files.check_out(source, [source])
    with pytest.raises(InputError, match=r"`out` should be a file that ends in \.parquet or \.csv"):
        recommendation_files.check_out(tmp_path / "out.json", [source])
    for path in (tmp_path, tmp_path / "no" / "folder.csv"):
        with pytest.raises(InputError, match="`out` should be a file that can be written"):
            recommendation_files.write_recommendations(found, path)
