"""Words from outside stay words in Markdown, and tables keep their columns."""

import html
import re

import pytest
from markdown_it import MarkdownIt

from metasgcl_tf.reports.markdown import code, markdown_table, plain

WORDS = [
    "a|b",
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(2)>",
    "[text](javascript:alert(3))",
    "![picture](https://example.com/x.png)",
    "**bold** _thin_ ~~gone~~ `code` $x$ \\| \\",
    "&lt;b&gt; &amp;",
    "two\nlines\r\nand\tmore",
    "# no heading",
    "``two`` `one",
    "`",
]


def rendered(markdown):
    return MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(markdown)


def shown(words):
    return " ".join(words.split())


@pytest.mark.parametrize("words", WORDS)
def test_words_are_shown_as_they_are(words):
    assert rendered(
        f"Of {plain(words)}."
    ) == f"<p>Of {html.escape(shown(words), quote=False)}.</p>\n".replace('"', "&quot;")
    assert rendered(f"# On {plain(words)}").startswith("<h1>On ")
    assert rendered(f"Of {code(words)}.") == f"<p>Of <code>{html.escape(shown(words))}</code>.</p>\n"


@pytest.mark.parametrize("words", WORDS)
def test_a_table_keeps_its_columns(words):
    table = rendered(markdown_table(["model", "seen", "HR"], [[plain(words), "kept", "0.1"]], 2))
    cells = re.findall(r"<td[^>]*>(.*?)</td>", table)
    assert [html.unescape(cell) for cell in cells] == [shown(words), "kept", "0.1"]
    assert set(re.findall(r"<(\w+)", table)) == {"table", "thead", "tbody", "tr", "th", "td"}


def test_plain_text_stays_as_it_is():
    assert plain("Test on ml-1m, ranked among all 3,416 items: .1 (p = .5)") == (
        "Test on ml-1m, ranked among all 3,416 items: .1 (p = .5)"
    )
    assert code("metasgcl train") == "`metasgcl train`"
