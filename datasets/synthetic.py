"""The built-in log: shopping histories from a known process, and the best ranking that process allows.

How a user picks items:

1. A hidden taste is drawn once and never changes. Every taste has its own popular items.
2. The first item is drawn from the popularity under the taste.
3. Items stand in aisles. Every item has a few directed successors in its aisle, other ones under each
   taste. The next item is mostly a successor of the last one, sometimes any item by popularity, never one
   bought before.

So the last item matters, direction matters, and older items matter because they tell the taste. As the
process is known, Bayes' rule gives the exact probability of every next item: no ranking does better on
average than sorting by `best_scores`, and a result can be read as a share of what is reachable.

Axes: B users, G tastes, N items.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

NUM_USERS = 5_000
NUM_ITEMS = 400
TASTE_PRIOR = (0.42, 0.33, 0.25)
NUM_TASTES = len(TASTE_PRIOR)

MIN_LENGTH, MAX_LENGTH = 8, 30
LENGTH_STOP = 1 / 9  # from MIN_LENGTH on, the chance to stop after every item

SKEW = 0.8  # popularity shared by all tastes falls as 1 / rank ** SKEW
TASTE_SPREAD = 2.0  # how far a taste moves the log popularity of an item, up or down
AISLE_SIZE = 25
NUM_SUCCESSORS = 6
SUCCESSOR_DECAY = 0.6  # each successor is this much less likely than the one before
EXPLORE = 0.1  # share of the next items drawn by popularity


def item_names() -> list[str]:
    """Raw ids of the `N` items, in the column order of `best_scores`."""
    return [f"i{item:03d}" for item in range(NUM_ITEMS)]


def generate(seed: int = 0, num_users: int = NUM_USERS) -> pl.DataFrame:
    """Draws a log.

    Args:
        seed: decides the process and the users.
        num_users: number of histories; the process does not depend on it.

    Returns:
        Columns `user` and `item` (String), one row per interaction: users in blocks, oldest item first.
    """
    if num_users < 1:
        raise ValueError(f"`num_users` should be a positive integer. Received: `num_users` = {num_users}.")
    world = make_world(seed)
    rng = np.random.default_rng([seed, 1])
    tastes = rng.choice(NUM_TASTES, size=num_users, p=world.prior)
    lengths = np.minimum(MIN_LENGTH - 1 + rng.geometric(LENGTH_STOP, size=num_users), MAX_LENGTH)

    histories = np.full((num_users, MAX_LENGTH), -1)
    last = np.full(num_users, NUM_ITEMS)
    seen = np.zeros((num_users, NUM_ITEMS), dtype=bool)
    for step in range(MAX_LENGTH):
        rows = np.flatnonzero(lengths > step)
        ladder = world.next_item(tastes[rows], last[rows], seen[rows]).cumsum(axis=-1)
        # Scaled by the last rung, because rounding may leave it short of 1.
        chosen = (ladder > rng.random((len(rows), 1)) * ladder[:, -1:]).argmax(axis=-1)
        histories[rows, step] = last[rows] = chosen
        seen[rows, chosen] = True

    users = pl.Series("user", [f"u{user:04d}" for user in range(num_users)])
    items = pl.Series("item", item_names())
    return pl.DataFrame(
        [users.gather(np.repeat(np.arange(num_users), lengths)), items.gather(histories[histories >= 0])]
    )


def best_scores(
    histories: Sequence[Sequence[str]], items: Sequence[str] | None = None, seed: int = 0
) -> np.ndarray:
    """Exact probability of every next item given what the user did, the taste being unknown.

    Memory grows as `B * G * N`: a few hundred users at a time are a good batch.

    Args:
        histories: `B` whole histories of raw item ids, oldest first; an empty one is a new user. The result
            is exact only if nothing is missing: what was cut off is read as never having happened.
        items: raw ids of the wanted columns, in the wanted order; `item_names()` by default.
        seed: the seed the log was generated from.

    Returns:
        Probabilities, `[B, len(items)]`, zero for items of the history. Rows sum to 1 over all `N` items.
    """
    world = make_world(seed)
    log_taste, last, seen = _read(world, [_columns(history, "histories") for history in histories])
    taste = np.exp(log_taste - log_taste.max(axis=-1, keepdims=True))
    taste /= taste.sum(axis=-1, keepdims=True)
    given_taste = world.next_item(np.arange(NUM_TASTES), last[:, None], seen[:, None])
    probabilities = np.einsum("bg,bgn->bn", taste, given_taste)
    return probabilities if items is None else probabilities[:, _columns(items, "items")]


@dataclass(frozen=True)
class World:
    """The process, before any user is drawn.

    Attributes:
        prior: probability of each taste, `[G]`.
        table: probability of the next item given taste and last item while nothing is excluded as seen,
            `[G, N + 1, N]`. Row `N` stands for "no item yet".
    """

    prior: np.ndarray
    table: np.ndarray

    def next_item(self, taste: np.ndarray, last: np.ndarray, seen: np.ndarray) -> np.ndarray:
        """Probability of every next item, `[..., N]`.

        Args:
            taste: int, `[...]` after broadcasting with `last`.
            last: int, last item, `N` if there is none.
            seen: bool, `[..., N]`.
        """
        weights = np.where(seen, 0.0, self.table[taste, last])
        return weights / weights.sum(axis=-1, keepdims=True)


@lru_cache(maxsize=4)
def make_world(seed: int) -> World:
    """Draws the process; treat the (cached) result as read-only."""
    rng = np.random.default_rng([seed, 0])
    shared = -SKEW * np.log(rng.permutation(NUM_ITEMS) + 1)
    liking = rng.standard_normal((NUM_TASTES, NUM_ITEMS))
    # Centred, so that every item is liked under some taste and hardly any is too rare to learn.
    popularity = np.exp(shared + TASTE_SPREAD * (liking - liking.mean(axis=0)))
    popularity /= popularity.sum(axis=-1, keepdims=True)

    table = np.repeat(popularity[:, None], NUM_ITEMS + 1, axis=1)
    links = table[:, :NUM_ITEMS]  # a view: all rows but "no item yet"
    links *= EXPLORE
    successors = _draw_successors(popularity, rng)
    weights = SUCCESSOR_DECAY ** np.arange(NUM_SUCCESSORS)
    boosted = np.take_along_axis(links, successors, axis=-1) + (1 - EXPLORE) * weights / weights.sum()
    np.put_along_axis(links, successors, boosted, axis=-1)
    return World(np.array(TASTE_PRIOR), table)


def _draw_successors(popularity: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Successors of every item, likeliest first: popular items of its aisle, `[G, N, NUM_SUCCESSORS]`."""
    aisle = rng.permutation(NUM_ITEMS) // AISLE_SIZE
    allowed = (aisle[:, None] == aisle) & ~np.eye(NUM_ITEMS, dtype=bool)
    # The largest log weights plus Gumbel noise are a weighted draw without replacement.
    keys = np.log(popularity)[:, None] + rng.gumbel(size=(NUM_TASTES, NUM_ITEMS, NUM_ITEMS))
    return np.argsort(np.where(allowed, -keys, np.inf), axis=-1)[..., :NUM_SUCCESSORS]


def _read(world: World, histories: list[list[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Follows histories: log P(taste, history) `[B, G]`, last item `[B]`, seen `[B, N]`."""
    log_taste = np.tile(np.log(world.prior), (len(histories), 1))
    last = np.full(len(histories), NUM_ITEMS)
    seen = np.zeros((len(histories), NUM_ITEMS), dtype=bool)
    lengths = np.array([len(history) for history in histories], dtype=int)
    for step in range(lengths.max(initial=0)):
        rows = np.flatnonzero(lengths > step)
        chosen = np.array([histories[row][step] for row in rows])
        if seen[rows, chosen].any():
            repeated = item_names()[chosen[seen[rows, chosen]][0]]
            raise ValueError(
                f"`histories` should not repeat an item. Received: `{repeated}` twice in one history."
            )
        given_taste = world.next_item(np.arange(NUM_TASTES), last[rows, None], seen[rows, None])
        log_taste[rows] += np.log(given_taste[np.arange(len(rows)), :, chosen])
        last[rows] = chosen
        seen[rows, chosen] = True
    return log_taste, last, seen


def _columns(names: Sequence[str], argument: str) -> list[int]:
    """Column numbers of raw item ids."""
    known = _column_of_name()
    columns = [known.get(name) for name in names]
    if None in columns:
        unknown = list(names)[columns.index(None)]
        raise ValueError(f"`{argument}` should hold items of the synthetic log. Received: {unknown!r}.")
    return columns


@lru_cache(maxsize=1)
def _column_of_name() -> dict[str, int]:
    return {name: column for column, name in enumerate(item_names())}
