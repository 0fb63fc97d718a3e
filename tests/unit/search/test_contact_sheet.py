"""The contact sheet is one file with everything in it, and treats nothing from the catalog as markup."""

from __future__ import annotations

import base64
import re
from html.parser import HTMLParser

from hypothesis import given
from hypothesis import strategies as st

from ingest.search.backend import Hit
from ingest.search.contact_sheet import Section, page


class Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    return reader


texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30)


@given(texts, texts, texts, texts)
def test_text_from_a_catalog_is_never_markup(heading, product_id, name, value):
    plain = read(page([Section("q", [Hit("p", 0.5, {"brand": "b"})], [b""])]))
    wild = read(page([Section(heading, [Hit(product_id, 0.5, {name or "n": value or "v"})], [b""])]))

    assert [tag for tag in wild.tags if tag not in {"dt", "dd"}] == [
        tag for tag in plain.tags if tag not in {"dt", "dd"}
    ]
    assert set(wild.attributes) <= set(plain.attributes)
    assert heading in "".join(wild.texts)
    assert product_id in "".join(wild.texts)


def test_images_are_in_the_file_and_nothing_is_loaded():
    html = page([Section("red mug", [Hit("P1", 0.5, {"title": 'A "mug"', "image": "https://x.example/a.jpg"})],
                         [b"\xff\xd8 one"], b"\xff\xd8 asked")])  # fmt: skip

    sources = re.findall(r'src="([^"]*)"', html)
    assert [base64.b64decode(source.partition(",")[2]) for source in sources] == [b"\xff\xd8 asked", b"\xff\xd8 one"]
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
    assert "https://" not in html
    assert 'alt="A &quot;mug&quot;"' in html
    assert "default-src 'none'" in html


def test_a_query_that_found_nothing_says_so():
    assert "nothing found" in page([Section("zzz", [], [])])
