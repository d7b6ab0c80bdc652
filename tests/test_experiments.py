"""The paper's tables and figures as rows: the values it has, the preset's own, and its row beside each."""

import pytest

from metasgcl_tf.config import build_config
from metasgcl_tf.errors import InputError
from metasgcl_tf.experiments import EXPERIMENTS, chosen
from metasgcl_tf.names import settings_of
from metasgcl_tf.reports import paper


def rows_of(experiment, **given):
    def base(name):
        return build_config({"data": "toys"} | given | settings_of(name)).flat()

    return EXPERIMENTS[experiment].rows(base)


@pytest.mark.parametrize("data", ["toys", "clothing"])
@pytest.mark.parametrize("table", ["table3", "table4", "table5", "table6", "table7"])
def test_every_row_of_the_papers_table_is_one_of_ours(table, data):
    keys = {key for dataset, key in paper._keyed(table) if dataset == data}
    assert keys and keys == {row.paper for row in rows_of(table) if paper.row_of(data, table, row.paper)}


def test_the_presets_own_value_is_a_row_too_and_marked():
    labels = [row.label for row in rows_of("table6")]
    assert labels == [*(f"dropout {value}" for value in (0, 0.1, 0.2, 0.3, 0.4)), "dropout 0.5 (preset)"]
    assert [row.label for row in rows_of("table6", dropout=0.2)][2:] == [
        "dropout 0.2 (preset)",
        "dropout 0.3",
        "dropout 0.4",
    ]
    assert [row.label for row in rows_of("table7")] == ["similarity dot (preset)", "similarity cosine"]


def test_figures_are_curves_with_places():
    assert {(row.curve, row.at) for row in rows_of("fig4") if row.curve == "hidden_dim"} == {
        ("hidden_dim", size) for size in (32, 64, 128, 256, 512)
    }
    noise = rows_of("fig5")
    assert {row.name for row in noise} == {"meta_sgcl", "sasrec", "duorec"}
    assert [row.at for row in noise[:6]] == [0, 10, 20, 30, 40, 50]
    assert [row.settings["noise"] for row in noise[:6]] == [0, 0.1, 0.2, 0.3, 0.4, 0.5]


def test_the_ablation_changes_what_it_says():
    changed = {row.paper: build_config({"data": "toys"} | settings_of(row.name)) for row in rows_of("table3")}
    weights = {
        key: [config.model_options[name] > 0 for name in ("contrastive_weight", "kl_weight")]
        for key, config in changed.items()
    }
    assert weights == {"-clkl": [False] * 2, "-cl": [False, True], "-kl": [True, False], "full": [True] * 2}


def test_experiments_by_name():
    assert chosen(["fig6", "table2"]) == ["table2", "fig6"] and chosen(["all"]) == list(EXPERIMENTS)
    with pytest.raises(InputError, match=r"`experiment` should be one of table2, .* did you mean 'table2'"):
        chosen(["table22"])
    with pytest.raises(InputError, match="`experiment` should be one of"):
        chosen([])


def test_the_papers_rows_by_table_and_key():
    assert paper.row_of("toys", "table5", "0.05") == {
        "hr@5": 0.0562,
        "hr@10": 0.0791,
        "ndcg@5": 0.0396,
        "ndcg@10": 0.0470,
    }
    assert paper.row_of("toys", "table2", "Meta-SGCL") == paper.row_of("toys", "table4", "2")
    assert paper.row_of("ml-1m", "table5", "1") is None and paper.row_of("toys", "fig4", "0.1") is None
    assert paper.row_of(None, "table2", "SASRec") is None and paper.row_of("toys", "table2", None) is None
    clothing = paper.row_of("clothing", "table4", "2")
    assert paper.arithmetic(clothing) == "(0.0167 - 0.0142) / (0.0309 - 0.0216) = 0.269"
