"""The tables of a report, from results made by hand."""

import pytest

from metasgcl_tf.config import build_config
from metasgcl_tf.experiments import Row
from metasgcl_tf.reports import experiment_tables as tables
from metasgcl_tf.reports.experiment_page import markdown, page, write_report
from metasgcl_tf.reports.experiment_runs import over_preset, runs_table
from metasgcl_tf.reports.experiment_tables import Result, Section

SHOWN = ("hr@5", "hr@10", "ndcg@5", "ndcg@10")
PAPER = dict(zip(SHOWN, (0.0216, 0.0309, 0.0142, 0.0167), strict=True))  # cannot be one ranking


def report(masked, kept=0.01, seed=1, **more):
    values = {"masked": dict.fromkeys(SHOWN, masked), "kept": dict.fromkeys(SHOWN, kept)}
    return {
        **{
            "test": values,
            "valid": {},
            "seed": seed,
            "seconds": 90.0,
            "epochs_trained": 7,
            "commit": "a" * 40,
        },
        **{"machine": "x", "versions": {"tensorflow": "2"}, "command": "metasgcl train <b>"},
        "config": build_config({"data": "toys", "epochs": 3} | more).flat(),
    }


def section(experiment="table4", reports=((0.03, 0.05), ()), paper=PAPER, **row):
    results = [
        Result(
            Row(f"row {place}", "meta_sgcl", **row),
            2,
            [report(v, seed=i) for i, v in enumerate(values)],
            paper,
        )
        for place, values in enumerate(reports)
    ]
    return Section(experiment, "toys", results)


def test_rows_with_mean_deviation_difference_and_what_is_missing():
    both, one = section().results[0], Result(Row("one", "sasrec"), 3, [report(0.0216)], PAPER)
    masked, kept, published = tables.main_table(Section("table4", "toys", [both]))
    # Mean .04, deviation sqrt((.01^2 + .01^2) / 1); .04 - .0216 = .0184 and so on.
    assert masked[:4] == ["row 0", "masked", "0.0400±.0141 (+0.0184)", "0.0400±.0141 (+0.0091)"]
    assert kept[:3] == ["", "kept", "0.0100±.0000 (-0.0116)"]
    assert masked[6:] == ["2", "7", "90"] and kept[6:] == [""] * 3
    assert published == ["", "paper*", "0.0216", "0.0309", "0.0142", "0.0167", "", "", ""]
    assert tables.main_table(Section("table4", "toys", [one]))[0][2:7:4] == ["0.0216 (+0.0000)", "1 of 3"]
    nothing = tables.main_table(Section("table4", "toys", [Result(Row("two", "sasrec"), 3, [], None)]))
    assert nothing == [["two", "missing", "-", "-", "-", "-", "0 of 3", "-", "-"]]


def test_notes_say_how_much_is_missing_and_show_the_arithmetic():
    missing, impossible = tables.notes_of(section())
    assert missing == "Missing: 2 of 4 runs."
    assert "row 0: (0.0167 - 0.0142) / (0.0309 - 0.0216) = 0.269" in impossible
    assert tables.notes_of(section(reports=[(1, 2)], paper=None)) == []


def test_noise_is_shown_over_no_noise_too():
    points = {0: 0.05, 10: 0.04, 20: 0.06}
    results = [
        Result(Row("r", "sasrec", curve="SASRec", at=at), 1, [report(value, kept=0.02)], None)
        for at, value in points.items()
    ]
    results.append(Result(Row("r", "sasrec", curve="SASRec", at=30), 1, [], None))
    head, rows = tables.curve_table(Section("fig5", "toys", results))
    assert head == ["", "seen", "0 %", "10 %", "20 %", "30 %"]
    assert rows == [
        ["SASRec", "masked", "100.0%", "80.0%", "120.0%", "-"],
        ["", "kept", "100.0%", "100.0%", "100.0%", "-"],
    ]


def test_a_run_is_listed_once_with_what_differs_from_its_preset():
    found = report(0.1, dropout=0.4, variant="joint")
    assert over_preset(found) == {"epochs": 3, "dropout": 0.4}
    shared = Section("fig3", "toys", [Result(Row("a", "meta_sgcl"), 1, [found], None)])
    (row,) = runs_table([shared, shared])
    assert row[:3] == ["toys: meta_sgcl:joint", "1", "epochs=3, dropout=0.4"] and row[6] == "a" * 10


@pytest.mark.parametrize("experiment", ["fig3", "fig4", "fig5", "fig6"])
def test_figures_are_drawn_into_a_page_that_needs_nothing_else(experiment):
    from metasgcl_tf.reports.experiment_figures import figure_of

    names = {"fig4": "kl_weight", "fig5": "SASRec"}
    shown = section(experiment, [(0.1, 0.2), (0.3,)], None, curve=names.get(experiment, ""), at=0.1)
    if experiment == "fig6":
        assert figure_of(shown) is None  # without the vectors
        look = {"points": [[0, 1], [1, 0]], "popularity": [1, 9], "spectrum": [1, 0.5], "seed": 1}
        looks = [look | {"model": name, "alignment": 1.0, "uniformity": -2.0} for name in ("sasrec", "pop")]
        shown = Section("fig6", "toys", shown.results, looks)
    drawn = [figure_of(shown)]
    text = page([shown], drawn, ["<script>"])
    assert drawn[0].startswith("<svg") and 'width="' not in drawn[0].partition(">")[0]
    assert "currentColor" in text and "&lt;script&gt;" in text and "metasgcl train &lt;b&gt;" in text
    for outside in ("<script", "<link", 'src="http', "@import", "<b>"):
        assert outside not in text
    assert f"![{shown.title}](<figures/toys-{experiment}.svg>)" in markdown([shown], drawn, [])


def test_tables_have_no_figure_and_a_page_of_nothing_is_one():
    from metasgcl_tf.reports.experiment_figures import figure_of

    assert figure_of(section("table4")) is None
    assert figure_of(section("fig3", [()])) is None
    assert "missing" in page([section("fig3", [()])], [None], [])


def test_a_section_with_nothing_to_compare_is_told_of_in_the_notes(tmp_path):
    one, two = section("table4", [(0.5,), ()]), section("table7", [(0.5,), (0.6,)])
    for path in write_report([one, two], [], {"command": "metasgcl report", "commit": "c"}, tmp_path):
        text = path.read_text()
        assert "Table VII: similarity (toys)" in text and text.count("Table IV") == 1
        assert "nothing to compare yet: Table IV: attention heads (toys, 1 of 2 rows)." in text


def test_points_of_different_curves_are_nothing_to_compare():
    found = [Result(Row("r", "sasrec", curve=curve), 1, [report(0.1)], None) for curve in ("alpha", "beta")]
    assert not Section("fig4", "toys", found).compares
    assert Section("fig4", "toys", [*found, found[0]]).compares
    assert Section("table2", "toys", [Result(Row("r", "sasrec"), 1, [report(0.1)], None)]).compares


def test_differences_are_set_apart_and_marks_of_missing_rows_stand_back():
    text = page([section()], [None], [])
    assert '0.0400±.0141 <small class="up">+0.0184</small>' in text
    assert '<small class="down">-0.0116</small>' in text and '<tr class="missing first">' in text
