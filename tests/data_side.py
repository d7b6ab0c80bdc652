"""What the tests of the training recipes share: logs whose ids tell where they stand, and plain batches."""

import numpy as np

LENGTHS = [1, 2, 3, 4, 7, 30, 12, 5, 100]


def numbered(lengths):
    """Items numbered from the first interaction to the last: an id tells where in the log it stands."""
    ends = np.cumsum(lengths)
    return [list(range(end - n + 1, end + 1)) for n, end in zip(lengths, ends, strict=True)]


def training_part(history):
    return history[:-2] if len(history) >= 3 else history


def read(batches):
    """[(inputs, targets, weights)] as numpy."""
    return [(x, y, w) for x, y, w in batches.as_numpy_iterator()]
