"""A trained model over a log that has grown: rows for new items and users, everything else as it was."""

import numpy as np
from keras import ops

from metasgcl_tf.data.splitting import Split
from metasgcl_tf.models.base import SequentialRecommender

# How far apart two items of a history may stand for one to say what the other is like.
WINDOW = 2


def grown(model: SequentialRecommender, split: Split) -> SequentialRecommender:
    """A model over a log whose first items and users are those that another model knows.

    What was learned stays: known users get the scores of known items that they got before. (Not so BPR-MF's
    strangers, whose vectors come from their history and all items.) A new item starts
    from the mean of the known items near it, see `start_rows`; a new user from the mean of all users, as
    which everybody unknown is scored. What `adapt` takes from the log is taken anew.

    Args:
        model: over the first items and users; it stays as it is.
        split: the log that has grown.

    Returns:
        The larger model, not compiled.
    """
    sizes = {"num_items": split.log.num_items, "num_users": split.log.num_users}
    config = model.get_config()
    larger = type(model).from_config(config | {name: sizes[name] for name in sizes.keys() & config.keys()})
    pairs = neighbours(split, model.num_items)
    for variable, known in zip(larger.variables, model.variables, strict=True):
        rows = ops.convert_to_numpy(known)
        more = variable.shape[0] - len(rows) if rows.ndim else 0
        if not more:
            variable.assign(rows)
        elif variable.name == "item_table":
            variable.assign(np.concatenate([rows, start_rows(rows, more, *pairs)]))
        elif variable.name == "user_table":
            variable.assign(np.concatenate([rows, np.tile(rows[1:].mean(axis=0), (more, 1))]))
    larger.adapt(split)
    return larger


def neighbours(split: Split, num_known: int) -> tuple[np.ndarray, np.ndarray]:
    """New items and known ones at most `WINDOW` steps apart in a training part, once for each time they are.

    Args:
        split: the log.
        num_known: items 1..num_known are the known ones.

    Returns:
        `(new [P], known [P])` int32, new items counted from 0.
    """
    pairs = [split.training_pairs(distance) for distance in range(1, WINDOW + 1)]
    one, other = (np.concatenate(items) for items in zip(*pairs, *((b, a) for a, b in pairs), strict=True))
    told = (one > num_known) & (other <= num_known)
    return one[told] - (num_known + 1), other[told]


def start_rows(table: np.ndarray, more: int, new: np.ndarray, known: np.ndarray) -> np.ndarray:
    """`[more, D]` rows of new items: the mean of their neighbours' rows, or of all where there is none.

    Args:
        table: `[V + 1, D]` of the known items; row 0 is padding.
        more: how many new items there are.
        new: `[P]` new items, from 0.
        known: `[P]` a neighbour of each.
    """
    sums = np.zeros((more, table.shape[1]))
    np.add.at(sums, new, table[known])
    counts = np.bincount(new, minlength=more)[:, None]
    return np.where(counts > 0, sums / np.maximum(counts, 1), table[1:].mean(axis=0)).astype(table.dtype)
