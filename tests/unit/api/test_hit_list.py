"""Hits as a list, as text, as rows and as a notebook's table."""

from __future__ import annotations

import base64
import io
import pickle
import re
from typing import TYPE_CHECKING

import pytest
from PIL import Image

from ingest.api.hit_list import Hits
from ingest.core.settings import Settings
from ingest.search.backend import Hit

if TYPE_CHECKING:
    from pathlib import Path


def hit(number: int = 1, **metadata) -> Hit:
    return Hit(f"P{number}", 0.5, metadata, "ab")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    (tmp_path / "shop").mkdir()
    return Settings(catalog=tmp_path / "shop" / "products.csv", data=tmp_path / "data")


def test_they_are_a_sequence(settings):
    hits = Hits([hit(1), hit(2), hit(3)], settings)
    assert (len(hits), hits[0].product_id, hits.ids) == (3, "P1", ["P1", "P2", "P3"])
    assert [one.product_id for one in hits[1:]] == ["P2", "P3"]
    assert hits[1:] == Hits([hit(2), hit(3)], settings)
    assert not Hits([], settings)
    assert pickle.loads(pickle.dumps(hits)) == hits


def test_the_text_is_a_table_without_the_image_and_without_what_controls_a_terminal(settings, monkeypatch):
    hits = Hits(
        [hit(1, title="Red\x1b[31m mug", price=5.5, image="a.jpg"), hit(2, title="x" * 100, price=None)], settings
    )
    monkeypatch.setenv("COLUMNS", "160")
    lines = repr(hits).splitlines()
    assert lines[0].split() == ["score", "product_id", "title", "price"]
    assert lines[1].split() == ["0.500", "P1", "Red\\x1b[31m", "mug", "5.5"]
    assert len(lines[2]) < 80
    assert repr(Hits([], settings)) == "Hits(nothing found)"


def test_a_table_is_no_wider_than_the_terminal(settings, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    lines = repr(Hits([hit(1, title="x" * 40, brand="y" * 40)], settings)).splitlines()
    assert [len(line) for line in lines] == [40, 40]
    assert lines[1].startswith("0.500  P1          xxx")
    assert lines[1].endswith("…")


def test_many_hits_are_cut_with_how_many_more_there_are(settings):
    hits = Hits([hit(number, title="x") for number in range(100)], settings)
    assert repr(hits).endswith("\n… and 40 more")
    assert hits._repr_html_().endswith("<p>… and 40 more</p>")
    assert hits._repr_html_().count("<tr>") == 61


def test_rows_are_those_of_the_command_and_pandas_has_the_same(settings):
    hits = Hits([hit(1, title="a", score="x"), hit(2, price=2.0)], settings)
    assert hits.to_dicts() == [
        {"product_id": "P1", "score": 0.5, "title": "a", "metadata.score": "x"},
        {"product_id": "P2", "score": 0.5, "price": 2.0},
    ]
    assert list(hits.to_pandas().columns) == ["product_id", "score", "title", "metadata.score", "price"]
    assert list(Hits([], settings).to_pandas().columns) == ["product_id", "score"]


def test_a_notebook_shows_small_images_that_are_here_and_asks_for_none(settings):
    Image.new("RGB", (800, 400), "red").save(settings.catalog.parent / "a.png")
    hits = Hits([hit(1, title="a", image="a.png"), hit(2, title="b", image="http://127.0.0.1:1/b.png")], settings)
    page = hits._repr_html_()
    (image,) = re.findall(r'src="data:image/jpeg;base64,([^"]+)"', page)
    with Image.open(io.BytesIO(base64.b64decode(image))) as shown:
        assert shown.size == (96, 48)
    assert "127.0.0.1" not in page
    assert "<img" not in Hits([hit(2, title="b", image="gone.png")], settings)._repr_html_()


def test_a_notebook_obeys_nothing_that_a_product_says(settings):
    bad = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&$x^2$\u202e\x00"
    page = Hits([Hit(bad, 0.5, {bad: bad, "title": bad})], settings)._repr_html_()
    assert "<script" not in page
    assert "<img" not in page
    assert not re.search("[\x00\u202e$]", page)
    assert page.count("&lt;script&gt;") == 4
