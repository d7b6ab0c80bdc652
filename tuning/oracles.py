"""Who proposes trials: KerasTuner's oracles, and the one that a search asks for."""

import json
from typing import Any

import keras_tuner

from metasgcl_tf.tuning.bayesian import BayesianOracle
from metasgcl_tf.tuning.grid import GridOracle
from metasgcl_tf.tuning.search import Search
from metasgcl_tf.tuning.search_oracle import SearchOracle
from metasgcl_tf.tuning.spaces import declare

TOLD = "search"  # the hyperparameter that holds the search itself


class RandomOracle(SearchOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random points, after the preset."""


class HyperbandOracle(SearchOracle, keras_tuner.oracles.HyperbandOracle):
    """Many short trials, of which the better ones go on, after the preset."""


def build_oracle(search: Search, trials: int, counts: dict[str, int], **options: Any) -> SearchOracle:
    """The oracle of a search.

    Args:
        search: checked; workers are told of it by a hyperparameter that never varies, since KerasTuner's
            service carries nothing else.
        trials: how many there are.
        counts: of the log, by which a worker knows that it has the same.
        **options: of `SearchOracle` and `LeasingOracle`.
    """
    space = keras_tuner.HyperParameters()
    declare(search.space, search.config, space)
    space.Fixed(TOLD, json.dumps(search.as_dict() | {"counts": counts}))
    options |= {
        "objective": keras_tuner.Objective(search.objective, "max"),
        "hyperparameters": space,
        "seed": search.config.training.seed % 2**31 + 1,  # 0 would stand for any
        "max_trials": trials,
    }
    if search.tuner == "bayesian":
        few = max(len(search.space) + 1, trials // 3)
        return BayesianOracle(num_initial_points=min(few, 3 * len(search.space)), **options)
    if search.tuner == "hyperband":
        epochs = search.epochs or search.config.training.epochs
        return HyperbandOracle(max_epochs=epochs, hyperband_iterations=trials, **options)
    return {"random": RandomOracle, "grid": GridOracle}[search.tuner](**options)
