"""Tables in Markdown, and words from outside in it."""

import re
from collections.abc import Sequence


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int = 1) -> str:
    """Cells of Markdown as a table: the first columns, of text, to the left, the numbers after them right."""
    rule = ["---"] * text_columns + ["---:"] * (len(head) - text_columns)
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (head, rule, *rows))


def plain(words: object) -> str:
    """Words that may hold anything (names of files, reasons), to be shown as they are, in one line."""
    return re.sub(r"([\\`*_{}\[\]<>|#&~$])", r"\\\1", " ".join(str(words).split()))


def code(words: object) -> str:
    """The same as code: between more backticks than it has itself."""
    line = " ".join(str(words).split())
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " if "`" in line else ""
    return f"{fence}{space}{line}{space}{fence}"
