"""The sign-flip test where its answer can be counted."""

import numpy as np
import pytest
from scipy import stats

from metasgcl_tf.reports.paired_test import sign_flip_p


@pytest.mark.parametrize(
    ("differences", "p"),
    [
        ([0, 0, 0], 1),  # no difference at all
        ([], 1),
        ([1, 1, 1], 2 / 8),  # only all plus and all minus are as far out
        ([1, 1, 1, 0, 0], 2 / 8),  # users without a difference say nothing
        ([1, -1], 1),
        ([3, 1, -1], 6 / 8),  # observed 3; the sums are 5, 3, 3, 1 and their opposites
        ([1] * 10, 2 / 1024),
    ],
)
def test_counted_by_hand(differences, p):
    assert sign_flip_p(np.array(differences, float)) == pytest.approx(p)


def test_the_sign_of_the_whole_does_not_matter():
    differences = np.random.default_rng(0).normal(0.3, 1, 12)
    assert sign_flip_p(differences) == pytest.approx(sign_flip_p(-differences))


def test_many_users_agree_with_the_t_test_and_repeat():
    differences = np.random.default_rng(1).normal(0.05, 1, 2000)
    p = sign_flip_p(differences)
    assert p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, abs=0.01)
    assert 0.001 < p < 0.2 and p == sign_flip_p(differences)
    assert sign_flip_p(np.ones(500)) == 1 / 10_001  # as small as 10,000 flips can tell
