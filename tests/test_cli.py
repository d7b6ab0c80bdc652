"""What a person at a terminal sees; most of all when the input is bad."""

import gzip
import json
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tensorflow as tf

from metasgcl_tf import cli
from metasgcl_tf.models import MODELS

BIN = Path(sys.executable).parent


def small_table(extra="", users=4, items=6):
    rows = [f"{user},{(user + step) % items},{step}" for user in range(users) for step in range(6)]
    return "\n".join(["user,item,time", *rows]) + "\n" + extra


# ---- the command line itself ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ([], ["COMMAND"]),
        (["trian"], ["'trian'", "train"]),
        (["train", "--nonsense"], ["--nonsense"]),
        (["train", "--epochs", "many"], ["--epochs", "'many'"]),
        (["train", "--k-core", "1.5"], ["--k-core", "'1.5'"]),
        (["train", "--set"], ["--set"]),
        (["train", "--", "a\nb"], ["a b"]),
        (["evaluate"], ["RUN"]),
        (["hybrid"], ["RUN"]),
        (["compare", "--seeds", "1,x"], ["--seeds", "'1,x'"]),
        (["recommend", "run"], ["--history", "--user", "--histories"]),
        (["recommend", "run", "--user", "1", "--history", "2"], ["--user", "--history"]),
    ],
)
def test_wrong_usage(refused, arguments, parts):
    line = refused(*arguments)
    assert all(part in line for part in parts) and "--help" in line


@pytest.mark.parametrize(
    "command",
    [[], ["train"], ["update"], ["hybrid"], ["compare"], ["evaluate"], ["recommend"], ["export"], ["models"]],
)
def test_help_fits_a_terminal(capsys, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as stop:
        cli.main([*command, "--help"])
    assert stop.value.code == 0
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 80


def test_models_and_their_settings_are_shown(capsys, monkeypatch, refused):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["models"]) == 0
    words = [line.split(" ")[0] for line in capsys.readouterr().out.splitlines()]
    assert [word for word in words if word.isidentifier()] == ["model", *MODELS]
    assert cli.main(["models", "gru4rec", "--preset", "toys"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert any(row[:3] == ["num_layers", "1", "GRUs"] for row in rows)
    assert any(row[:2] == ["dropout", "0.5"] for row in rows)
    assert max(len(" ".join(row)) for row in rows) <= 80
    assert "did you mean 'gru4rec'" in refused("models", "gru4rek")
    assert "did you mean 'toys'" in refused("models", "gru4rec", "--preset", "toy")


def test_help_does_not_wait_for_tensorflow():
    code = "import sys, metasgcl_tf.cli as c; c.build_parser(); sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("run", "there"),
    [("runs/shop/", "runs/shop-hybrid"), (".", "../here-hybrid"), ("..", "../../above-hybrid")],
)
def test_what_is_made_of_a_run_goes_beside_it(tmp_path, monkeypatch, run, there):
    (tmp_path / "above" / "here").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "above" / "here")
    assert cli.beside(run, "hybrid").resolve() == Path(there).resolve()


def test_ctrl_c_says_so(capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.COMMANDS, "evaluate", interrupt)
    assert cli.main(["evaluate", "run"]) == 130
    assert capsys.readouterr().err == "metasgcl: error: interrupted\n"


def test_warnings_and_system_errors_are_one_line_each(capsys, monkeypatch):
    def warn(_):
        warnings.warn("two\n  lines", stacklevel=1)
        raise OSError(28, "No space left on device", "model.keras")

    monkeypatch.setitem(cli.COMMANDS, "evaluate", warn)
    before = warnings.showwarning
    assert cli.main(["evaluate", "run"]) == 2
    assert warnings.showwarning is before
    first, second = capsys.readouterr().err.splitlines()
    assert first == "metasgcl: warning: two lines"
    assert second == "metasgcl: error: [Errno 28] No space left on device: 'model.keras'"


@pytest.mark.parametrize(
    "error", [MemoryError(), tf.errors.ResourceExhaustedError(None, None, "OOM\nwhen ...")]
)
def test_too_little_memory_is_one_line(refused, monkeypatch, error):
    def fill(_):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "evaluate", fill)
    assert "memory is not enough" in refused("evaluate", "run")


def test_settings_accumulate():
    options = ["--set", "a=1", "b=x=y", "--set", "c=[1,2]", "--set", "a=2"]
    parsed = cli.build_parser().parse_args(["train", *options])
    assert cli.parse_settings(parsed.set) == {"a": 2, "b": "x=y", "c": [1, 2]}


# ---- train ----------------------------------------------------------------------------------------

ROW = "user,item,time\na,x,1\n"
BAD_LOGS = {
    "missing file": ("none.csv", None, [], ["'none.csv'"]),
    "nearly a name": ("tois", None, [], ["'tois'", "'toys'"]),
    "unknown format": ("log.xlsx", "x", [], [".csv", "'log.xlsx'"]),
    "empty": ("log.csv", "", [], ["log.csv", "empty"]),
    "header only": ("log.csv", "user,item\n", [], ["log.csv", "no interaction"]),
    "no usual names": ("log.csv", "a,b\n1,2\n", [], ["--user-col", "['a', 'b']"]),
    "missing column": ("log.csv", ROW, ["--time-col", "when"], ["'when'", "--time-col"]),
    "one column twice": ("log.csv", ROW, ["--time-col", "user", "--user-col", "user"], ["its own", "user"]),
    "word as time": ("log.csv", ROW + "a,y,monday\n", [], ["time", "'monday' in line 3"]),
    "NaN as time": ("log.csv", ROW + "a,y,nan\n", [], ["time", "'nan' in line 3"]),
    "NaN as item": ("log.csv", ROW + "a,NaN,2\n", [], ["item", "'NaN' in line 3"]),
    "not UTF-8": ("log.csv", b"user,item\na,\xff\n", [], ["UTF-8", "0xff in line 2"]),
    "cut gzip": ("log.csv.gz", gzip.compress(small_table().encode())[:-9], [], ["gzip"]),
    "nobody has three": ("log.csv", "user,item\na,x\na,y\nb,x\n", [], ["3 interactions", "history has 2"]),
    "nothing to train on": ("log.csv", "user,item\na,x\na,y\na,z\n", [], ["4 interactions"]),
    "k-core takes all": ("log.csv", small_table(), ["--k-core", "99"], ["`k_core`", "99"]),
    "k-core of zero": ("log.csv", small_table(), ["--k-core", "0"], ["`k_core`", "0"]),
    "no ratings": ("log.csv", small_table(), ["--min-rating", "4"], ["`min_rating`", "--rating-col"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_LOGS)
def test_train_refuses_a_log(refused, tmp_path, case):
    name, content, options, parts = BAD_LOGS[case]
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    line = refused("train", "--data", name, "--k-core", 1, *options, "--out", "run")
    assert all(part in line for part in parts)
    assert not (tmp_path / "run").exists()


BAD_SETTINGS = {
    "--max-length 0": ["`max_length`", "at least 1", "= 0"],
    "--epochs 0": ["`epochs`", "at least 1", "= 0"],
    "--seed -1": ["`seed`", "= -1"],
    "--min-rating nan": ["`min_rating`", "nan"],
    "--model bert": ["`model`", "did you mean 'bert4rec'", "'bert'"],
    "--preset toyz": ["`preset`", "did you mean 'toys'", "'toyz'"],
    "--set kl_weight=-1": ["`kl_weight`", "0 or more", "= -1.0"],
    "--set contrastive_weight=-0.5": ["`contrastive_weight`", "= -0.5"],
    "--set hidden_dim=9": ["`hidden_dim`", "multiple of num_heads = 2", "= 9"],
    "--set num_layers=0": ["`num_layers`", "= 0"],
    "--set dropout=1": ["`dropout`", "below 1", "= 1.0"],
    "--set temperature=0": ["`temperature`", "above 0"],
    "--set similarity=cos": ["`similarity`", "'cos'"],
    "--set training=both": ["`training`", "'both'"],
    "--variant no_c": ["`variant`", "did you mean 'no_cl'", "'no_c'"],
    "--model sasrec --variant joint": ["`variant`", "sasrec has none", "'joint'"],
    "--variant joint --set training=two_step": ["`training`", "variant joint", "'two_step'"],
    "--set dropuot=0.5": ["`dropuot`", "did you mean 'dropout'"],
    "--set dropout": ["`--set`", "KEY=VALUE", "'dropout'"],
    "--set =1": ["`--set`", "KEY=VALUE", "'=1'"],
    "--set epochs=[": ["`--set epochs`", "YAML", "'['"],
    "--set seed=2 --set epochs=x": ["`epochs`", "'x'"],
    "--config none.yaml": ["`--config`", "none.yaml"],
    "--config list.yaml": ["`--config`", "a list"],
    "--config words.yaml": ["`hidden_dim`", "'wide'"],
}


@pytest.mark.parametrize("options", BAD_SETTINGS)
def test_train_refuses_settings(refused, tmp_path, options):
    (tmp_path / "log.csv").write_text(small_table())
    (tmp_path / "list.yaml").write_text("- a\n")
    (tmp_path / "words.yaml").write_text("hidden_dim: wide\n")
    line = refused("train", "--data", "log.csv", "--k-core", 1, "--out", "run", *options.split())
    assert all(part in line for part in BAD_SETTINGS[options])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overwrite", [[], ["--overwrite"]])
@pytest.mark.parametrize("out", ["file", "folder", "file/below", "/proc/none", "x" * 300])
def test_train_refuses_a_place(refused, tmp_path, out, overwrite):
    (tmp_path / "log.csv").write_text(small_table())
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "config.yaml").write_text("of something else")
    line = refused("train", "--data", "log.csv", "--k-core", 1, "--model", "pop", "--out", out, *overwrite)
    assert out in line and ("`out`" in line or "`overwrite`" in line)
    assert (tmp_path / "file").read_text() == "mine"
    assert (tmp_path / "folder" / "config.yaml").read_text() == "of something else"


def test_a_run_outlives_a_failed_overwrite(refused, tmp_path, counted_run):
    shutil.copytree(counted_run, tmp_path / "run")
    (tmp_path / "log.csv").write_text(small_table())
    (tmp_path / "short.csv").write_text("user,item\na,x\na,y\na,z\n")

    def content():
        return {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}

    before = content()
    refused("train", "--data", "log.csv", "--out", "run")
    for bad in ("none.csv", "short.csv", "log.csv --set hidden_dim=9", "log.csv --k-core 99"):
        refused("train", "--k-core", 1, "--out", "run", "--overwrite", "--data", *bad.split())
        assert content() == before


def test_the_counts_of_a_messy_log_are_shown(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # Mixed id types, a repeated row, and a user with one item.
    (tmp_path / "log.csv").write_text(small_table("one,2,7\n0,0,0\n0,0,0\n"))
    options = ["--k-core", "1", "--model", "pop", "--time-col", "time", "--out", "run [red]"]
    assert cli.main(["train", "--data", "log.csv", *options]) == 0
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first == (
        "5 users, 6 items, 25 interactions; 2 duplicates (same user, item and time) dropped; "
        "1 users with fewer than 3 interactions are for training only"
    )
    assert last.endswith("Run folder: run [red]")
    counts = json.loads((tmp_path / "run [red]" / "metrics.json").read_text())["counts"]
    assert (counts["duplicates_dropped"], counts["users_training_only"]) == (2, 1)


def test_the_usual_columns_are_found_beside_a_named_one(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # By `seen_at` everybody goes 0, 1, ..., 5; in the order of the rows it is the other way round.
    rows = [f"{user},{item},{item}" for user in range(4) for item in reversed(range(6))]
    (tmp_path / "log.csv").write_text("\n".join(["user_id,item_id,seen_at", *rows]))
    options = ["--k-core", "1", "--model", "pop", "--time-col", "seen_at", "--out", "run"]
    assert cli.main(["train", "--data", "log.csv", *options]) == 0
    capsys.readouterr()
    from metasgcl_tf.run_folder import load_run

    log = load_run("run").log
    assert log.raw_items(log.history(3)) == [0, 1, 2, 3, 4, 5]


def test_a_training_prints_quietly_and_readably(trained_run):
    assert (trained_run.parent / "stderr").read_text() == ""
    printed = (trained_run.parent / "stdout").read_text()
    lines = printed.splitlines()
    assert all(len(line) <= 80 for line in lines[:-1]) and "…" not in printed
    assert [line.split()[:2] for line in lines if line.startswith("epoch")] == [
        ["epoch", f"{epoch}/6"] for epoch in range(1, 7)
    ]


@pytest.mark.slow  # within a process, test_checkpoints.py has runs that end alike
def test_a_run_repeats_in_another_process(trained_run, tmp_path):
    command = [str(BIN / "metasgcl"), "train", "--config", str(trained_run / "config.yaml"), "--out", "run"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    first, second = (
        json.loads((run / "metrics.json").read_text()) for run in (trained_run, tmp_path / "run")
    )
    assert (first["valid"], first["test"]) == (second["valid"], second["test"])
    assert second["command"] == f"metasgcl {' '.join(command[1:])}"

    import numpy as np

    from metasgcl_tf.run_folder import load_run

    weights = [load_run(run).model.get_weights() for run in (trained_run, tmp_path / "run")]
    assert all(np.array_equal(one, two) for one, two in zip(*weights, strict=True))


# ---- evaluate and recommend -----------------------------------------------------------------------


def test_evaluate_shows_the_numbers_of_the_run(capsys, trained_run):
    report = json.loads((trained_run / "metrics.json").read_text())
    assert cli.main(["evaluate", str(trained_run)]) == 0
    output = capsys.readouterr().out
    for protocol in ("masked", "kept"):
        for name in ("hr@5", "hr@10", "ndcg@5", "ndcg@10"):
            assert f"{report['test'][protocol][name]:.4f}" in output
    assert f"Validation NDCG@10, masked: {report['valid']['masked']['ndcg@10']:.4f}" in " ".join(
        output.split()
    )


def cells(output):
    rows = [line.strip("│").split("│") for line in output.splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in row] for row in rows]


def test_recommend_prints_a_table_in_raw_ids(capsys, trained_run, tmp_path):
    assert cli.main(["recommend", str(trained_run), "--history", "i3, i4 ,i5", "--k", "2"]) == 0
    (rank, item, _), _ = cells(capsys.readouterr().out)
    assert (rank, item) == ("1", "i6")
    (tmp_path / "titles.csv").write_text("item,title\ni1,[red] tea\n")
    options = ["--user", "u7", "--include-seen", "--titles", str(tmp_path / "titles.csv"), "--k", "1"]
    assert cli.main(["recommend", str(trained_run), *options]) == 0
    assert cells(capsys.readouterr().out)[0][:3] == ["1", "i1", "[red] tea"]


def test_recommend_answers_a_file_of_strangers_with_a_file(capsys, counted_run, tmp_path):
    first = 2**53 + 1
    (tmp_path / "new.txt").write_text(f"900 {first + 3} {first + 4}\n901 {first + 11}\n902 5\n")
    options = ["--histories", str(tmp_path / "new.txt"), "--k", "1", "--out", str(tmp_path / "out.csv")]
    assert cli.main(["recommend", str(counted_run), *options]) == 0
    captured = capsys.readouterr()
    assert captured.out == ""
    unknown, popular = captured.err.splitlines()
    assert unknown == "metasgcl: warning: Items that are not in the log are ignored (1): 5."
    assert popular.startswith("metasgcl: warning: 1 of 3 histories hold no item of the log")
    header, *rows = (tmp_path / "out.csv").read_text().splitlines()
    assert header == "user,rank,item,score"
    assert [row.split(",")[:3] for row in rows[:2]] == [
        ["900", "1", str(first + 5)],
        ["901", "1", str(first)],
    ]
    assert rows[2].startswith("902,1,")


def test_export_says_where(capsys, counted_run, refused, tmp_path):
    assert cli.main(["export", str(counted_run), "--to", str(tmp_path / "shop")]) == 0
    assert capsys.readouterr().out == f"Written: {tmp_path / 'shop' / '1'}\n"
    assert "`core_k` should be at least 1" in refused("export", str(counted_run), "--core-k", "0")
    assert "`run` should be a folder that `metasgcl train` wrote" in refused("export", "nowhere")


def test_recommend_shows_ten_or_all_there_are(capsys, counted_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["recommend", str(counted_run), "--history", str(2**53 + 1)]) == 0
    assert len(cells(capsys.readouterr().out)) == 10
    (tmp_path / "log.csv").write_text(small_table())
    assert cli.main(["train", "--data", "log.csv", "--k-core", "1", "--model", "pop", "--out", "run"]) == 0
    capsys.readouterr()
    assert cli.main(["recommend", "run", "--history", "0,1"]) == 0
    # In the training part, 3 was bought four times, 2 and 4 three times, 5 twice.
    assert [row[1] for row in cells(capsys.readouterr().out)] == ["3", "2", "4", "5"]


@pytest.mark.parametrize(
    ("options", "parts"),
    [
        (["--history", "5", "--k", "0"], ["`k`", "= 0"]),
        (["--history", "5", "--k", "-1"], ["`k`", "= -1"]),
        (["--history", str(2**53 + 1), "--k", "13"], ["`k`", "number of items, 12", "= 13"]),
        (["--user", "nobody"], ["`user`", "'nobody'"]),
        (["--user", ""], ["`user`", "''"]),
        (["--histories", "none.txt"], ["none.txt", "no such file"]),
        (["--histories", "empty.txt"], ["empty.txt", "empty"]),
        (["--user", "1", "--titles", "none.csv"], ["`titles`", "none.csv"]),
        (["--user", "1", "--titles", "empty.txt"], ["`titles`", "empty.txt"]),
        (["--user", "1", "--titles", "table.csv"], ["`titles`", "item and title", "['a', 'b']"]),
        (["--user", "1", "--out", "none/out.csv"], ["`out`", "none/out.csv"]),
        (["--user", "1", "--titles", "titles.csv", "--out", "titles.csv"], ["`out`", "titles.csv"]),
        (["--user", "1", "--out", "RUN/items.parquet"], ["`out`", "items.parquet"]),
    ],
)
def test_recommend_refuses(refused, tmp_path, counted_run, options, parts):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "titles.csv").write_text("item,title\n1,one\n")
    # Unknown items would warn in a line of their own.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=UserWarning)
        said = {"5": str(2**53 + 1), "RUN/items.parquet": str(counted_run / "items.parquet")}
        options = [said.get(option, option) for option in options]
        line = refused("recommend", counted_run, *options)
    assert all(part in line for part in parts)
    assert (tmp_path / "titles.csv").read_text() == "item,title\n1,one\n"


DAMAGE = {
    "no folder": (None, None, ["config.yaml"]),
    "no config": ("config.yaml", None, ["config.yaml"]),
    "stopped before the first epoch": ("model.keras", None, ["model.keras"]),
    "cut model": ("model.keras", lambda data: data[: len(data) // 2], ["model.keras", "zip"]),
    "empty model": ("model.keras", lambda data: b"", ["model.keras", "zip"]),
    "flipped model": (
        "model.keras",
        lambda data: data[:-2000] + bytes(255 - byte for byte in data[-2000:-1000]) + data[-1000:],
        ["model.keras", "damaged"],
    ),
    "other config": ("config.yaml", lambda data: b"- x\n", ["config.yaml", "a list"]),
    "no items": ("items.parquet", None, ["items.parquet"]),
    "cut items": ("items.parquet", lambda data: data[:20], ["items.parquet"]),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_folder_that_is_no_run(refused, tmp_path, counted_run, case):
    name, damage, parts = DAMAGE[case]
    if name:
        shutil.copytree(counted_run, tmp_path / "run")
        path = tmp_path / "run" / name
        data = path.read_bytes()
        path.unlink() if damage is None else path.write_bytes(damage(data))
    for command in (["evaluate", "run"], ["recommend", "run", "--history", "1"]):
        line = refused(*command)
        assert "run" in line and all(part in line for part in parts)


def test_a_model_and_a_log_of_two_runs(refused, tmp_path, counted_run):
    shutil.copytree(counted_run, tmp_path / "run")
    (tmp_path / "log.csv").write_text(small_table())
    assert cli.main(["train", "--data", "log.csv", "--k-core", "1", "--model", "pop", "--out", "other"]) == 0
    shutil.copy(tmp_path / "other" / "model.keras", tmp_path / "run")
    line = refused("evaluate", "run")
    assert "a model of 6 items and a log of 12" in line
