"""Answers for every user of a log: the same as one by one, whatever interrupts them."""

import shutil

import polars as pl
import pytest

from metasgcl_tf import batch_recommending, cli, recommending
from metasgcl_tf.batch_recommending import recommend_users
from metasgcl_tf.errors import InputError
from metasgcl_tf.run_folder import load_run


@pytest.fixture(autouse=True)
def small_parts(monkeypatch):
    """36 users are four parts."""
    monkeypatch.setattr(batch_recommending, "USERS_A_PART", 10)


@pytest.fixture
def answered(monkeypatch):
    """How many users each part asked the model for; `answered.stop_after` parts comes Ctrl-C."""

    class Answered(list):
        stop_after = None

    parts, best_next = Answered(), recommending.best_next

    def watched(model, log, histories, *rest):
        if len(parts) == parts.stop_after:
            raise KeyboardInterrupt
        parts.append(len(histories))
        return best_next(model, log, histories, *rest)

    monkeypatch.setattr(batch_recommending, "best_next", watched)
    return parts


def interrupt(answered, after, *arguments, **options):
    answered.stop_after = after
    with pytest.raises(KeyboardInterrupt):
        recommend_users(*arguments, **options)
    answered.clear()
    answered.stop_after = None


def test_every_user_gets_what_it_gets_alone(trained_run, tmp_path):
    # Everybody has seen every item, so that seen ones are included.
    assert recommend_users(trained_run, tmp_path / "all.parquet", k=3, exclude_seen=False) == 36
    found, run = pl.read_parquet(tmp_path / "all.parquet"), load_run(trained_run)
    assert found.columns == ["user", "rank", "item", "score"]
    assert found["user"].to_list() == [f"u{user}" for user in range(36) for _ in range(3)]
    for user in (0, 9, 10, 35):
        history = {f"u{user}": run.log.raw_items(run.log.history(user))}
        alone = recommending.recommend(run, history, k=3, exclude_seen=False, user_index=[user])
        together = found.filter(user=f"u{user}")
        assert together.drop("score").equals(alone.drop("score"))
        assert together["score"].to_list() == pytest.approx(alone["score"].to_list(), abs=1e-5)


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_it_goes_on_where_it_was_and_gives_the_same_file(counted_run, tmp_path, answered, ending):
    once, twice = tmp_path / f"once.{ending}", tmp_path / f"twice.{ending}"
    recommend_users(counted_run, once, exclude_seen=False)
    assert answered == [10, 10, 10, 6]
    answered.clear()
    interrupt(answered, 2, counted_run, twice, exclude_seen=False)
    assert not twice.exists()
    recommend_users(counted_run, twice, exclude_seen=False)
    assert answered == [10, 6]
    assert twice.read_bytes() == once.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [once.name, twice.name]


@pytest.mark.parametrize("change", ["options", "run"])
def test_parts_of_other_options_or_another_run_are_not_mixed_in(counted_run, tmp_path, answered, change):
    run, k = tmp_path / "run", 2
    shutil.copytree(counted_run, run)
    interrupt(answered, 2, run, tmp_path / "out.csv", k=k, exclude_seen=False)
    if change == "run":
        users = pl.Series("user", [f"renamed {user}" for user in range(36)])
        users.to_frame().write_parquet(run / "users.parquet")
    else:
        k = 1
    with pytest.warns(UserWarning, match=r"out\.csv\.parts is of another run or of other options"):
        recommend_users(run, tmp_path / "out.csv", k=k, exclude_seen=False)
    found = pl.read_csv(tmp_path / "out.csv")
    assert answered == [10, 10, 10, 6] and found.height == 36 * k
    assert found["user"].to_list() == [user for user in load_run(run).log.users for _ in range(k)]


def test_some_users_with_titles(capsys, counted_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = 2**53 + 1
    (tmp_path / "some.txt").write_text("7\n\n 35\n7\n")
    (tmp_path / "titles.csv").write_text(f"item,title\n{first + 1},tea\n")
    options = ["--users", "some.txt", "--titles", "titles.csv", "--k", "1", "--include-seen"]
    assert cli.main(["recommend", str(counted_run), *options, "--out", "some.csv"]) == 0
    assert capsys.readouterr().out == "Written: some.csv, 2 users\n"
    found = pl.read_csv("some.csv")
    # Whoever started at 7 is at 7 + 17 = 0 (mod 12), whoever started at 11 at 4.
    assert found.select("user", "rank", "item", "title").rows() == [
        (7, 1, first + 1, "tea"),
        (35, 1, first + 5, ""),
    ]


def test_who_has_seen_everything_gets_nothing_and_it_is_said(counted_run, tmp_path):
    with pytest.warns(UserWarning, match="36 of 36 histories hold every item"):
        recommend_users(counted_run, tmp_path / "none.parquet")
    found = pl.read_parquet(tmp_path / "none.parquet")
    assert found.height == 0 and found.schema["user"] == found.schema["item"] == pl.Int64


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"out": "out.json"}, r"`out` should be a file that ends in \.parquet or \.csv.*'out\.json'"),
        ({"out": "none/out.csv"}, r"`out` should be in a folder that can be written.*none/out\.csv\.parts"),
        ({"out": "mine.csv"}, r"`out` needs a folder for its parts, mine\.csv\.parts"),
        ({"out": "titles.csv", "titles": "titles.csv"}, "`out` should be another file than those read"),
        ({"k": 13}, r"`k` should be between 1 and the number of items, 12. Received: `k` = 13"),
        ({"titles": "none.csv"}, "`titles` should be a CSV or TSV file"),
        ({"users": "none.txt"}, "none.txt: no such file"),
        ({"users": "empty.txt"}, "empty.txt: the file is empty"),
        ({"users": "blank.txt"}, "`users` should be all or a file with an id a line, at least one"),
        ({"users": "strange.txt"}, "`user` should be one of the 36 users of the log.*'nobody'"),
    ],
)
def test_what_is_refused(counted_run, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.csv.parts").mkdir()
    (tmp_path / "mine.csv.parts" / "letter.txt").touch()
    (tmp_path / "empty.txt").touch()
    (tmp_path / "blank.txt").write_text("  \n \n")
    (tmp_path / "strange.txt").write_text("1\nnobody\n")
    (tmp_path / "titles.csv").write_text("item,title\n")
    with pytest.raises(InputError, match=message):
        recommend_users(counted_run, **({"out": "out.csv"} | options))
    assert (tmp_path / "mine.csv.parts" / "letter.txt").exists()
    assert not list(tmp_path.glob("out.csv*"))


def test_a_file_is_needed(capsys, counted_run):
    assert cli.main(["recommend", str(counted_run), "--users", "all"]) == 2
    assert "`--users` needs `--out`" in capsys.readouterr().err
