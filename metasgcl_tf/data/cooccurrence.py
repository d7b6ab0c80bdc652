"""Which items stand near each other in training parts: weighted counts of pairs, and vectors made of them."""

import numpy as np

from metasgcl_tf.data.splitting import Split

# Pairs held in memory before they are summed; keeps counting of long logs below a few GB.
_PAIRS_AT_ONCE = 20_000_000


def pair_counts(
    split: Split, max_distance: int, distance_decay: float, backward_weight: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """How often one item stands near another in the training parts.

    For a before b at distance d <= `max_distance`, `distance_decay^(d - 1)` counts for the pair (a, b), and
    `backward_weight` times that for (b, a).

    Returns:
        `(items [P], neighbours [P], counts [P])`, each pair that occurs once, in ascending order.
    """
    num_items = split.log.num_items
    keys, weights = np.zeros(0, np.int64), np.zeros(0)
    waiting: list[tuple[np.ndarray, np.ndarray]] = []
    for distance in range(1, max_distance + 1):
        before, after = split.training_pairs(distance)
        if not len(before):
            break
        weight = distance_decay ** (distance - 1)
        waiting.append((_pair_keys(before, after, num_items), np.full(len(before), weight)))
        if backward := weight * backward_weight:
            waiting.append((_pair_keys(after, before, num_items), np.full(len(before), backward)))
        if sum(len(k) for k, _ in waiting) > _PAIRS_AT_ONCE:
            keys, weights = _sum_by_key([(keys, weights), *waiting])
            waiting.clear()
    keys, weights = _sum_by_key([(keys, weights), *waiting])
    return *np.divmod(keys, num_items + 1), weights


def spectral_vectors(
    split: Split, size: int, max_distance: int = 10, distance_decay: float = 0.8
) -> np.ndarray:
    """Vectors whose products say how often two items stand near each other, for how frequent they are.

    With C the `pair_counts` of both directions, without its diagonal, and N its row sums, the products are
    the best ones of `size` dimensions for `C[i, j] / sqrt((N[i] + 1) (N[j] + 1))`: leading eigenvectors times
    the roots of their eigenvalues, as in spectral clustering (Ng, Jordan and Weiss 2001).

    Args:
        split: the log and its training parts.
        size: of a vector.
        max_distance: see `pair_counts`.
        distance_decay: see `pair_counts`.

    Returns:
        `[V + 1, size]` float64; 0 for padding and for items without a neighbour. Where eigenvalues below 0 or
        the end of the catalogue leave fewer dimensions, the others are 0.
    """
    import scipy.sparse.linalg  # here, for whoever only counts or serves does without it

    items, neighbours, values = pair_counts(split, max_distance, distance_decay, backward_weight=1.0)
    others = items != neighbours
    items, neighbours, values = items[others], neighbours[others], values[others]
    rows = split.log.num_items + 1
    vectors = np.zeros((rows, size))
    if not len(values):
        return vectors
    scale = 1 / np.sqrt(np.bincount(items, values, minlength=rows) + 1)
    matrix = scipy.sparse.csr_array(
        (values * scale[items] * scale[neighbours], (items, neighbours)), (rows, rows)
    )
    found = min(size, rows - 1)
    random = np.random.default_rng(0)  # always the same, so that a log has the same vectors
    eigenvalues, eigenvectors = scipy.sparse.linalg.eigsh(matrix, k=found, which="LA", tol=1e-4, rng=random)
    vectors[:, :found] = eigenvectors * np.sqrt(np.maximum(eigenvalues, 0.0))
    vectors[np.diff(matrix.indptr) == 0] = 0.0
    return vectors


def _pair_keys(first: np.ndarray, second: np.ndarray, num_items: int) -> np.ndarray:
    """One int64 for each ordered pair of items."""
    return first.astype(np.int64) * (num_items + 1) + second


def _sum_by_key(parts: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Distinct keys in ascending order and the sum of each one's weights."""
    keys, group = np.unique(np.concatenate([k for k, _ in parts]), return_inverse=True)
    return keys, np.bincount(group, np.concatenate([w for _, w in parts]), minlength=len(keys))
