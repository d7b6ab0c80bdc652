"""Whether one model ranks better than another for the same users, or just for a lucky few."""

import numpy as np

FLIPS = 10_000


def sign_flip_p(differences: np.ndarray, flips: int = FLIPS, seed: int = 0) -> float:
    """Two-sided p-value of a mean difference between pairs.

    If two models were equally good, each user's difference could as well have the other sign. p is the share
    of all ways to choose the signs whose mean is at least as far from 0 as the one observed; of random ways,
    the observed one among them, where there are more than `flips` of them.

    Args:
        differences: one a user.
        flips: how many random ways.
        seed: of their choice.
    """
    different = np.asarray(differences, np.float64)
    different = different[different != 0]  # the others have no sign
    count = len(different)
    observed = abs(different.sum()) * (1 - 1e-12)  # sums of the same numbers in another order are equal
    if 2**count <= flips:
        ways = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float(np.mean(np.abs((2 * ways - 1) @ different) >= observed))
    random, extreme = np.random.default_rng(seed), 1
    for start in range(0, flips, 100):
        ways = random.integers(0, 2, (min(100, flips - start), count), np.int8)
        extreme += int(np.sum(np.abs(2 * (ways @ different) - different.sum()) >= observed))
    return extreme / (flips + 1)
