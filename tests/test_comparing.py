"""`metasgcl compare`: what it trains, what it leaves alone, and the numbers of its leaderboard."""

import csv
import io
import json
import statistics
import sys

import numpy as np
import polars as pl
import pytest
import yaml
from markdown_it import MarkdownIt
from rich.console import Console

from metasgcl_tf import cli, comparing
from metasgcl_tf.errors import InputError
from metasgcl_tf.models import MODELS
from metasgcl_tf.reports import leaderboard_files
from metasgcl_tf.run_folder import read_metrics
from metasgcl_tf.run_plan import plan
from tests.made_up import USERS, MadeUp

SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10")


@pytest.fixture
def made_up(monkeypatch):
    return MadeUp(monkeypatch)


def compare(out, names=("sasrec", "pop"), seeds=(1, 2), given=None, **options):
    return comparing.compare(names, seeds, {"epochs": 3} | (given or {}), out, **options)


# ---- what is trained ------------------------------------------------------------------------------


def test_a_run_a_model_and_seed_and_one_where_nothing_is_fitted(made_up, tmp_path):
    compare(tmp_path / "new" / "folder", ["sasrec", "pop", "meta_sgcl:no_cl"], [1, 2, 1])
    assert made_up.trained == [
        "sasrec-seed1",
        "sasrec-seed2",
        "pop",
        "meta_sgcl-no_cl-seed1",
        "meta_sgcl-no_cl-seed2",
    ]
    assert all((tmp_path / "new" / "folder" / name).is_dir() for name in made_up.trained)


@pytest.mark.parametrize("given", [{"variant": "joint"}, {"hybrid": True}])
def test_what_names_say_is_not_said_twice(made_up, tmp_path, given):
    (key,) = given
    with pytest.raises(InputError, match=f"`{key}` should be left to the names .* Received: `{key}` = "):
        compare(tmp_path, ["meta_sgcl"], given=given)
    assert made_up.trained == []


def test_what_is_finished_is_not_trained_again_and_what_is_not_is(made_up, tmp_path):
    first = compare(tmp_path)
    made_up.trained.clear()
    assert compare(tmp_path) == first and made_up.trained == []
    (tmp_path / "sasrec-seed2" / "metrics.json").unlink()  # as after a kill
    assert compare(tmp_path) == first and made_up.trained == ["sasrec-seed2"]
    made_up.trained.clear()
    (tmp_path / "pop" / "ranks.parquet").unlink()
    compare(tmp_path, ["sasrec", "pop", "item_cooccurrence"], [1, 2, 3])
    assert made_up.trained == ["sasrec-seed3", "pop", "item_cooccurrence"]


def test_a_finished_run_of_other_settings_is_replaced_on_request_only(made_up, tmp_path):
    compare(tmp_path)
    with pytest.raises(
        InputError, match=r"sasrec-seed1 is a finished run with `epochs` = 3\. Received: .* = 4"
    ):
        compare(tmp_path, given={"epochs": 4})
    made_up.trained.clear()
    compare(tmp_path, given={"epochs": 4}, overwrite=True)
    assert made_up.trained == ["sasrec-seed1", "sasrec-seed2"]  # pop has no epochs


def test_a_result_of_before_a_key_existed_counts(made_up, tmp_path):
    compare(tmp_path)
    path = tmp_path / "sasrec-seed1" / "metrics.json"
    report = json.loads(path.read_text())
    del report["config"]["hybrid"], report["config"]["variant"]
    path.write_text(json.dumps(report))
    made_up.trained.clear()
    compare(tmp_path)
    assert made_up.trained == []


def test_a_failure_is_listed_and_the_rest_goes_on(made_up, tmp_path):
    made_up.broken["sasrec-seed1"] = "`loss` became nan at training step 3."
    board = compare(tmp_path, ["sasrec", "hybrid:sasrec", "pop"])
    assert [row["seeds"] for row in board["rows"] if row["name"] == "sasrec"] == [[2]]
    assert made_up.trained == ["sasrec-seed1", "sasrec-seed2", "hybrid-sasrec-seed2", "pop"]
    assert board["failures"][1]["reason"] == "its model, sasrec-seed1, was not trained"
    assert {
        "run": "sasrec-seed1",
        "name": "sasrec",
        "reason": "`loss` became nan at training step 3.",
    } in board["failures"]
    assert any("sasrec-seed1: `loss` became nan" in note for note in leaderboard_files.notes(board))
    made_up.broken = dict.fromkeys(("sasrec-seed1", "sasrec-seed2", "pop"), "no")
    assert compare(tmp_path / "all", ["sasrec", "pop"]) is None


def test_all_is_every_model_and_the_hybrid_of_the_best(made_up, tmp_path):
    board = compare(tmp_path, [comparing.ALL], [1])
    # The made-up validation figure grows with the length of the name.
    best = max((name for name in MODELS if MODELS[name].learns()), key=len)
    assert {row["name"] for row in board["rows"]} == {*MODELS, f"hybrid:{best}"}
    assert made_up.trained[-1] == f"hybrid-{best}-seed1"
    assert made_up.trained.count(f"{best}-seed1") == 1


def test_a_hybrid_brings_its_model_and_follows_it(made_up, tmp_path):
    compare(tmp_path, ["hybrid:sasrec"], [1])
    assert made_up.trained == ["sasrec-seed1", "hybrid-sasrec-seed1"]
    (tmp_path / "sasrec-seed1" / "metrics.json").unlink()
    made_up.trained.clear()
    compare(tmp_path, ["hybrid:sasrec"], [1])
    assert made_up.trained == ["sasrec-seed1", "hybrid-sasrec-seed1"]


def test_which_models_are_trained():
    assert not MODELS["pop"].learns() and not MODELS["item_cooccurrence"].learns()
    for model in MODELS.values():
        assert model.learns() == bool(model(num_items=3, max_length=2).trainable_variables)


def test_settings_go_to_the_models_that_have_them(tmp_path):
    given = {"dropout": 0.4, "kl_weight": 0.5, "k_core": 1, "epochs": 2}
    pop, sasrec, meta = (
        run.config.flat() for run in plan(["pop", "sasrec", "meta_sgcl"], [1], given, tmp_path)
    )
    assert (pop["k_core"], sasrec["dropout"], sasrec["epochs"], meta["kl_weight"]) == (1, 0.4, 2, 0.5)
    assert "dropout" not in pop and "kl_weight" not in sasrec


# ---- what the leaderboard says --------------------------------------------------------------------


def test_the_numbers_are_those_of_the_runs_by_hand(made_up, tmp_path):
    board = compare(tmp_path, ["sasrec", "pop", "meta_sgcl"], [1, 2, 3])
    assert [row["name"] for row in board["rows"]] == ["meta_sgcl", "sasrec", "pop"]  # by validation
    reports = [json.loads((tmp_path / f"sasrec-seed{s}" / "metrics.json").read_text()) for s in (1, 2, 3)]
    row = board["rows"][1]
    for protocol in ("masked", "kept"):
        for name in SHOWN:
            values = [report["test"][protocol][name] for report in reports]
            mean = sum(values) / 3
            deviation = (sum((value - mean) ** 2 for value in values) / 2) ** 0.5
            assert row["test"][protocol][name]["mean"] == pytest.approx(mean)
            assert row["test"][protocol][name]["std"] == pytest.approx(deviation)
    assert deviation > 0 and (row["seconds"], row["parameters"], row["seeds"]) == (7, 1234, [1, 2, 3])
    assert row["valid_ndcg@10"] == pytest.approx(0.06)
    assert board["rows"][2]["test"]["masked"]["hr@5"]["std"] is None


def test_the_paired_test_is_of_the_two_best_user_by_user_seeds_averaged(made_up, tmp_path):
    test = compare(tmp_path, ["sasrec", "pop", "meta_sgcl"], [1, 2])["paired_test"]
    assert (test["best"], test["second"], test["users"]) == ("meta_sgcl", "sasrec", USERS)

    def of_users(name):
        ranks = [
            pl.read_parquet(tmp_path / f"{name}-seed{s}" / "ranks.parquet")["masked"].to_list()
            for s in (1, 2)
        ]
        return [
            statistics.fmean(1 / np.log2(r + 1) if r <= 10 else 0 for r in user)
            for user in zip(*ranks, strict=True)
        ]

    pairs = list(zip(of_users("meta_sgcl"), of_users("sasrec"), strict=True))
    differences = np.array([one - other for one, other in pairs])
    assert test["mean_difference"] == pytest.approx(differences.mean(), abs=1e-6)
    assert test["better_for"] == (differences > 0).sum() and test["worse_for"] == (differences < 0).sum()
    ways = np.array(np.meshgrid(*[[-1, 1]] * USERS)).reshape(USERS, -1)
    sums = np.abs(differences @ ways)
    assert test["p"] == pytest.approx(np.mean(sums >= abs(differences.sum()) - 1e-9))


def test_runs_of_a_log_that_changed_are_not_compared(made_up, tmp_path):
    compare(tmp_path, ["sasrec"])
    made_up.counts = made_up.counts | {"interactions": 98}
    with pytest.raises(InputError, match=r"runs of one log.*98 interactions beside 99"):
        compare(tmp_path, ["sasrec", "pop"])


@pytest.fixture
def toys_board(made_up, tmp_path):
    made_up.counts = {"users": 19412, "items": 11924, "interactions": 167597}
    return compare(tmp_path, ["meta_sgcl", "sasrec", "pop", "item_cooccurrence", "hybrid:meta_sgcl"], [1, 2])


def printed(board, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    leaderboard_files.print_leaderboard(board, console)
    return console.export_text()


def test_the_papers_figures_stand_beside_ours_with_what_must_be_said(toys_board):
    text = printed(toys_board)
    assert max(map(len, text.splitlines())) <= 80 and "…" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["paper", "0.0642", "0.0907", "0.0420", "0.0506"] in lines
    assert "cannot come from one ranking" in " ".join(text.split())
    assert "± is the standard deviation" in text and "±." in text
    figures = {"hr@5": 0.0216, "hr@10": 0.0309, "ndcg@5": 0.0142, "ndcg@10": 0.0167}
    clothing = toys_board | {"rows": [toys_board["rows"][0] | {"paper": figures}], "paired_test": None}
    assert "paper*" in printed(clothing) and "paper*" not in text


@pytest.mark.parametrize(
    ("masked", "kept", "behind"),
    [
        ([0.0642, 0.0907, 0.0420, 0.0506], [0, 0, 0, 0], False),
        ([0.06416, 0.09066, 0.04196, 0.05056], [0, 0, 0, 0], False),  # as rounded as the paper's
        ([0, 0, 0, 0], [0.1, 0.1, 0.1, 0.1], False),
        ([0.0641, 0.0907, 0.0420, 0.0506], [0.1, 0.1, 0.1, 0.0505], True),  # one protocol has to reach all
    ],
)
def test_who_stays_behind_the_paper_is_named(toys_board, masked, kept, behind):
    (row,) = (row for row in toys_board["rows"] if row["name"] == "meta_sgcl")
    for protocol, values in (("masked", masked), ("kept", kept)):
        means = [{"mean": value, "std": None} for value in values]
        row["test"][protocol] = dict(zip(SHOWN, means, strict=True))
    (note,) = (note for note in leaderboard_files.notes(toys_board) if "are reached" in note)
    assert ("Meta-SGCL" in note) == behind


def test_one_seed_is_called_one_seed(made_up, tmp_path):
    text = printed(compare(tmp_path, ["sasrec", "pop"], [5]))
    assert "One seed" in text and "±" not in text and "paper" not in text
    alone = compare(tmp_path, ["pop"], [5])
    assert alone["paired_test"] is None and "against" not in printed(alone)


def test_a_row_tells_how_to_repeat_its_runs(made_up, tmp_path):
    board = compare(tmp_path, ["sasrec"], [1, 2])
    assert [run["seed"] for run in board["rows"][0]["runs"]] == [1, 2]
    for run in (board, *board["rows"][0]["runs"]):
        assert run["machine"] and run["versions"]["keras"] and {"commit", "command"} <= set(run)
    assert board["rows"][0]["runs"][0]["config"]["epochs"] == 3


def test_where_the_best_possible_is_known_it_ends_the_table(made_up, tmp_path):
    values = {protocol: dict.fromkeys(SHOWN, 0.75) for protocol in ("masked", "kept")}
    made_up.more = {"best_possible": {"valid": {}, "test": values}}
    (_, _, rows), _ = leaderboard_files.tables(compare(tmp_path))
    assert rows[-2:] == [["best possible", "masked", *["0.7500"] * 4], ["", "kept", *["0.7500"] * 4]]


def test_the_files_hold_the_same(toys_board, tmp_path):
    written = leaderboard_files.write_leaderboard(toys_board, tmp_path)
    assert [path.name for path in written] == [f"leaderboard.{kind}" for kind in ("md", "csv", "json", "png")]
    assert json.loads((tmp_path / "leaderboard.json").read_text()) == toys_board
    with (tmp_path / "leaderboard.csv").open() as file:
        rows = {(row["name"], row["seen"]): row for row in csv.DictReader(file)}
    assert len(rows) == 10
    for row in toys_board["rows"]:
        line = rows[row["name"], "kept"]
        assert float(line["ndcg@10"]) == row["test"]["kept"]["ndcg@10"]["mean"]
        assert line["ndcg@10_std"] == str(row["test"]["kept"]["ndcg@10"]["std"] or "")
    assert rows["meta_sgcl", "masked"]["paper_hr@10"] == "0.0907" and rows["pop", "kept"]["seeds"] == "1"
    markdown = (tmp_path / "leaderboard.md").read_text()
    assert "| Hybrid of Meta-SGCL | masked |" in markdown and "cannot come from one ranking" in markdown
    assert (tmp_path / "leaderboard.png").read_bytes().startswith(b"\x89PNG")


def test_names_and_reasons_of_any_kind_are_written_as_they_are(toys_board, tmp_path):
    board = toys_board | {"dataset": "logs/a|b<script>$x_$.csv"}
    board["failures"] = [{"run": "pop", "name": "pop", "reason": "<img src=x> | **no** `x`"}]
    leaderboard_files.write_leaderboard(board, tmp_path)  # the plot takes no dollar for a formula
    shown = MarkdownIt("commonmark").enable("table").render((tmp_path / "leaderboard.md").read_text())
    assert "<h2>Test on a|b&lt;script&gt;$x_$.csv, ranked among all 11,924 items</h2>" in shown
    assert "<p>Failed: pop: &lt;img src=x&gt; | **no** `x`</p>" in shown


def test_without_matplotlib_there_is_no_plot(toys_board, tmp_path, monkeypatch):
    (tmp_path / "leaderboard.png").write_text("old")
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert len(leaderboard_files.write_leaderboard(toys_board, tmp_path)) == 3
    assert not (tmp_path / "leaderboard.png").exists()


# ---- the command ----------------------------------------------------------------------------------

REFUSED = {
    "--models sasrek": ["`models`", "did you mean 'sasrec'"],
    "--models sasrec,,pop": ["`models`", "''"],
    "--models meta_sgcl:no_c": ["`variant`", "did you mean 'no_cl'"],
    "--models sasrec:joint": ["`variant`", "sasrec has none"],
    "--models hybrid:pop": ["`models`", "'hybrid:pop'"],
    "--models hybrid:nothing": ["`models`", "'nothing'"],
    "--seeds one": ["--seeds", "'one'"],
    "--seeds 1,-1": ["`seed`", "-1"],
    "--set dropuot=1": ["`dropuot`", "did you mean 'dropout'"],
    "--models pop --set dropout=0.1": ["`dropout`"],
    "--models sasrec --set dropout=1": ["`dropout`", "below 1"],
    "--data nowhere.csv": ["must be an existing file", "'nowhere.csv'"],
    "--preset toyz": ["`preset`", "did you mean 'toys'"],
    "--out file": ["`out`", "file"],
}  # fmt: skip


@pytest.mark.parametrize("options", REFUSED)
def test_refused_in_one_line_before_anything_is_trained(refused, made_up, tmp_path, options):
    (tmp_path / "file").touch()
    line = refused("compare", "--out", "out", *options.split())
    assert all(part in line for part in REFUSED[options])
    assert made_up.trained == [] and not (tmp_path / "out").exists()


def test_the_command_prints_writes_and_says_what_failed(capsys, made_up, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made_up.broken["sasrec-seed2"] = "out of [memory]"
    assert cli.main(["compare", "--models", "sasrec, pop", "--seeds", "1,2", "--epochs", "3"]) == 1
    output = capsys.readouterr().out
    assert "2/3 sasrec-seed2: FAILED: out of [memory]" in output
    assert "Failed: sasrec-seed2: out of [memory]" in output
    folder = tmp_path / "runs" / "compare-synthetic"
    assert (
        folder / "leaderboard.md"
    ).is_file() and "Written: runs/compare-synthetic/leaderboard.md" in output
    made_up.broken["pop"] = made_up.broken["sasrec-seed1"] = "no"
    assert cli.main(["compare", "--models", "sasrec,pop", "--out", "none"]) == 1
    assert "No run finished" in capsys.readouterr().err
    made_up.broken.clear()
    assert cli.main(["compare", "--models", "sasrec,pop", "--seeds", "1,2", "--epochs", "3"]) == 0


# ---- for real -------------------------------------------------------------------------------------


def test_processes_of_their_own_one_of_which_fails(capsys, cyclic_log, tmp_path):
    options = ["--models", "bpr_mf,pop", "--epochs", "1", "--set", "learning_rate=1e38"]
    command = ["compare", "--data", str(cyclic_log), *options, "--out", str(tmp_path)]
    assert cli.main(command) == 1
    captured = capsys.readouterr()
    assert "1/2 bpr_mf-seed1: FAILED: `loss` became nan" in captured.out
    report = read_metrics(tmp_path / "pop")
    assert report["command"].startswith(f"metasgcl train --set data={cyclic_log}")
    before = (tmp_path / "pop" / "metrics.json").stat().st_mtime_ns
    assert "became nan" in (tmp_path / "bpr_mf-seed1.log").read_text()
    again = ["compare", "--data", str(cyclic_log), "--models", "pop", "--out", str(tmp_path)]
    assert cli.main(again) == 0
    assert (tmp_path / "pop" / "metrics.json").stat().st_mtime_ns == before
    assert "was finished before" in capsys.readouterr().out


@pytest.mark.slow
def test_the_commands_of_the_plan_make_what_was_planned(cyclic_log, tmp_path):
    given = {"data": str(cyclic_log), "epochs": 1, "hidden_dim": 8, "num_layers": 1, "max_length": 8}
    (variant,) = plan(["meta_sgcl:no_cl"], [3], given, tmp_path)
    words = ["model=meta_sgcl", "variant=no_cl", "seed=3"]
    assert variant.command == [
        "train",
        "--set",
        *(f"{k}={v}" for k, v in given.items()),
        *words,
        *variant.command[-3:],
    ]
    simple = {"data": str(cyclic_log), "epochs": 1, "hidden_dim": 8}
    runs = plan(["hybrid:bpr_mf"], [3], simple, tmp_path)
    assert [run.name for run in runs] == ["bpr_mf", "hybrid:bpr_mf"]
    for run in runs:
        assert not run.finished()
        assert cli.main(run.command) == 0
        assert run.finished() and read_metrics(run.folder)["model"] == run.name


def test_a_run_that_was_cut_short_goes_on_unless_its_settings_changed(tmp_path):
    (run,) = plan(["sasrec"], [1], {"data": "synthetic"}, tmp_path)
    assert run.command[:2] == ["train", "--set"]
    (run.folder / "checkpoints").mkdir(parents=True)
    (run.folder / "checkpoints" / "000000000007.npz").touch()
    (run.folder / "config.yaml").write_text(yaml.safe_dump(run.config.flat()))
    assert run.command == ["train", "--resume", str(run.folder)]
    (other,) = plan(["sasrec"], [1], {"data": "synthetic", "dropout": 0.3}, tmp_path)
    assert other.folder == run.folder and other.command[:2] == ["train", "--set"]
