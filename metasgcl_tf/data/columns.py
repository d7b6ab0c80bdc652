"""Which column of a table holds the users, items, times and ratings."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from metasgcl_tf.errors import InputError, shown

# Lower case, without underscores. These cover MovieLens' ratings.csv and the Amazon reviews too.
USUAL_NAMES = {
    "user": ("user", "userid", "reviewerid"),
    "item": ("item", "itemid", "movieid", "asin"),
    "time": ("time", "timestamp", "datetime", "date", "unixreviewtime"),
    "rating": ("rating", "overall"),
}


@dataclasses.dataclass(frozen=True)
class Columns:
    """Which columns of a table hold what; None looks for a column with one of USUAL_NAMES."""

    user: str | None = None
    item: str | None = None
    time: str | None = None
    rating: str | None = None


class ColumnError(InputError):
    """A table lacks the columns asked for, or has more than one for a role, or has no names at all."""


def find_columns(path: Path, names: Sequence[str], columns: Columns | None) -> dict[str, str]:
    """Which of a table's columns has which role, as {"user": "user_id", ...}.

    Args:
        path: the file, for messages.
        names: the columns the table has.
        columns: the choice of the caller; a role that is None there, or all if None, is looked for among
            USUAL_NAMES.

    Raises:
        ColumnError: a column is missing, may be one of several, or is chosen twice.
    """
    chosen = dataclasses.asdict(columns or Columns())
    free = [name for name in names if name not in chosen.values()]
    usual = {role: _usual_column(path, free, role) for role, name in chosen.items() if name is None}
    found = {role: name for role, name in (chosen | usual).items() if name is not None}
    for role in ("user", "item", *found):
        if found.get(role) not in names:
            what = f"no column {shown(found[role])}" if role in found else "no column with a usual name"
            raise ColumnError(
                f"{path}: {what} for the {role} (name it with --{role}-col). Received: {shown(names)}."
            )
    if len(set(found.values())) < len(found):
        raise ColumnError(f"{path}: each role needs a column of its own. Received: {shown(found)}.")
    return found


def is_usual(name: str, roles: Sequence[str] = tuple(USUAL_NAMES)) -> bool:
    """Whether a column of this name is looked for, to have one of the roles."""
    return any(name.lower().replace("_", "") in USUAL_NAMES[role] for role in roles)


def _usual_column(path: Path, names: Sequence[str], role: str) -> str | None:
    usual = [name for name in names if is_usual(name, [role])]
    if len(usual) > 1:
        raise ColumnError(
            f"{path}: more than one column may be the {role}; choose with --{role}-col among {shown(usual)}."
        )
    return usual[0] if usual else None


def refuse_columns(path: Path, columns: Columns | None) -> None:
    """Raises ColumnError when columns are chosen for a format that has no names."""
    if columns is not None:
        raise ColumnError(f"{path}: this format has no names to choose columns by. Received: {columns}.")
