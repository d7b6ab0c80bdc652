"""Noise in training sequences: as much as wanted, in training parts only, the same for the same seed."""

from types import SimpleNamespace

import numpy as np
import pytest

from metasgcl_tf import fitting
from metasgcl_tf.config import build_config
from metasgcl_tf.data import pipelines
from metasgcl_tf.data.noise import with_noise
from metasgcl_tf.errors import InputError
from metasgcl_tf.training import build_model

USERS, LENGTH = 200, 12  # of which 10 are for training
REAL = 24  # items of the histories; the catalogue has as many again, which are noise for certain


@pytest.fixture(scope="module")
def split(make_split):
    return make_split(
        [[1 + (user + step) % REAL for step in range(LENGTH)] for user in range(USERS)], 2 * REAL
    )


def histories(split):
    return [split.log.history(user) for user in range(split.log.num_users)]


def test_as_many_items_as_wanted_and_each_user_has_the_share(split):
    for share in (0.1, 0.25, 0.5, 1):
        noisy = with_noise(split, share, seed=3)
        more = np.diff(noisy.log.offsets) - LENGTH
        assert abs(more.sum() - share * 10 * USERS) <= 1
        assert abs(more - share * 10).max() < 1
        assert np.array_equal(noisy.train_end - noisy.train_begin, 10 + more)


def test_short_histories_have_their_share_of_a_tenth(make_split):
    noisy = with_noise(make_split([[1, 2, 3, 4]] * 1000), 0.1, seed=1)
    assert abs(noisy.log.num_interactions - 4000 - 200) <= 1


def test_the_real_items_stay_in_their_order_and_the_held_out_ones_at_the_end(split):
    noisy = with_noise(split, 0.5, seed=1)
    for before, after in zip(histories(split), histories(noisy), strict=True):
        assert after[-2:].tolist() == before[-2:].tolist()
        rest = iter(after.tolist())
        assert all(item in rest for item in before.tolist())  # a subsequence
    for part in ("valid", "test"):
        targets = [each.log.item_index[each.target_position(part)] for each in (split, noisy)]
        assert np.array_equal(*targets)


def test_noise_is_of_the_whole_catalogue_and_falls_everywhere(split):
    noisy = with_noise(split, 1, seed=1)
    foreign = [history > REAL for history in histories(noisy)]  # half of the noise, whichever way it fell
    share = np.mean([flags[:-2].sum() / 10 for flags in foreign])
    assert share == pytest.approx(0.5, abs=0.05)
    places = np.concatenate([np.flatnonzero(flags) / (len(flags) - 3) for flags in foreign])
    assert places.min() == 0 and places.max() == 1 and places.mean() == pytest.approx(0.5, abs=0.03)
    assert set(np.concatenate(histories(noisy)).tolist()) == set(range(1, 2 * REAL + 1))


def test_the_same_seed_is_the_same_noise_and_none_is_the_split_itself(split):
    one, same, other = (with_noise(split, 0.3, seed).log.item_index for seed in (1, 1, 2))
    assert np.array_equal(one, same) and not np.array_equal(one[: len(other)], other[: len(one)])
    assert with_noise(split, 0.0, seed=1) is split


def test_users_for_training_only_have_noise_at_their_end_too(make_split):
    noisy = with_noise(make_split([[1, 2], [1, 2, 3]] * 500, 1000), 1, seed=1)
    ends = [history[-1] for history in histories(noisy)[::2]]
    assert np.mean(np.array(ends) > 3) == pytest.approx(5 / 9, abs=0.07)  # 2 items into 3 gaps: 1 - (2/3)^2


def test_a_share_outside_is_refused():
    for share in (-0.1, 1.5):
        with pytest.raises(InputError, match=r"`noise` should be between 0 and 1\. Received: `noise` = "):
            build_config({"noise": share})


def test_models_learn_from_noise_and_are_ranked_on_clean_histories(split):
    config = build_config({"noise": 0.5, "seed": 7})
    learned = config.learned_from(split)
    assert np.array_equal(learned.log.item_index, with_noise(split, 0.5, 7).log.item_index)
    for batch, _ in pipelines.ranking(split, "test", max_length=50):
        assert batch["item_ids"].numpy().max() <= REAL and batch["seen"].numpy().max() <= REAL


def test_fitting_and_counting_see_the_noise_and_validation_does_not(split, monkeypatch):
    config = build_config({"data": "synthetic", "noise": 1, "seed": 7, "epochs": 1})
    ranked, recipe = [], SimpleNamespace(skip=lambda batches: "batches")
    monkeypatch.setattr(fitting.pipelines, "ranking", lambda split, *_, **__: ranked.append(split))
    learned = []
    model = SimpleNamespace(
        training_recipe=lambda split, **_: learned.append(split) or recipe,
        fit=lambda batches, **_: None,
        **{"compiled": True, "max_length": 5, "loss_names": (), "stop_training": False},
    )
    fitting.fit(model, split, config, [])
    assert np.array_equal(learned[0].log.item_index, with_noise(split, 1, 7).log.item_index)
    assert ranked == [split]
    popular = build_model(build_config({"model": "pop", "noise": 1}), split)
    counted = [each for each in popular.variables if each.shape == (2 * REAL + 1,)]
    assert float(np.sum(counted[0])) == 2 * 10 * USERS
