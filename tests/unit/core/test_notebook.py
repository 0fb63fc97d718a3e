"""Tables for notebooks: escaped, and loading nothing."""

from __future__ import annotations

import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ingest.core import notebook

ALLOWED = {"table", "caption", "thead", "tbody", "tr", "th", "td", "br", "img"}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.text += data


def tags(page: str) -> Tags:
    parser = Tags()
    parser.feed(page)
    parser.close()
    return parser


values = (
    st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text()) | st.dictionaries(st.text(), st.text())
)


@given(st.text(), st.dictionaries(st.text(), values))
def test_facts_are_a_table_of_text_whatever_they_say(title, facts):
    page = notebook.facts(title, facts)
    found = tags(page)
    assert {tag for tag, _ in found.seen} <= ALLOWED
    assert {name for _, attributes in found.seen for name in attributes} <= {"style"}
    assert "$" not in page
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", page)


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.lists(values | st.floats() | st.binary(), max_size=3)))
def test_tables_show_images_as_data_alone(names, rows):
    found = tags(notebook.table(names, rows))
    assert {tag for tag, _ in found.seen} <= ALLOWED
    for tag, attributes in found.seen:
        assert tag != "img" or str(attributes["src"]).startswith("data:image/jpeg;base64,")


def test_what_is_empty_is_left_out_and_numbers_have_separators():
    shown = tags(
        notebook.facts("Run", {"embedded": 1200, "skipped": 0, "notes": [], "places": {"report": "r.json"}})
    ).text
    assert shown == "Runembedded1,200placesreport: r.json"


def test_lines_are_indented_and_printable():
    assert notebook.lines("Run(x)", ["a\nb", "\x1b[1m"]) == "Run(x)\n  a\\nb\n  \\x1b[1m"
