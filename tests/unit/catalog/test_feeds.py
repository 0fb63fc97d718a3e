"""Feeds read as a stream: the same rows in JSON and XML, whatever the cells hold; never a part of them in silence."""

from __future__ import annotations

import io
import json
import tempfile
import tracemalloc
from pathlib import Path
from xml.sax.saxutils import escape

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.catalog import reader
from ingest.catalog.options import ReadOptions
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError
from ingest.core.records import Product, Skipped

SHIPPED = contract_file.load(contract_file.default_path())
HEAD = '<?xml version="1.0"?><rss xmlns:g="http://base.google.com/ns/1.0"><channel>'
TAIL = "</channel></rss>"

text = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=12)
tables = st.lists(text, min_size=1, max_size=8)


def read(folder: Path, name: str, content: str | bytes, **options) -> list[Product | Skipped]:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return list(reader.read_catalog(path, SHIPPED, Columns(options=ReadOptions(**options))))


def item(number: int, title: str) -> str:
    names = f"<g:id>{number}</g:id><g:title>t{escape(title)}</g:title>"
    return f"<item>{names}<g:image_link>{number}.jpg</g:image_link></item>"


@settings(deadline=None, max_examples=60)
@given(tables, st.sampled_from([None, 1, "\t"]))
def test_the_same_rows_are_read_from_an_array_from_lines_and_from_a_feed(titles, indent):
    rows = [
        {"product_id": f"{number}", "image": f"{number}.jpg", "title": "t" + title}
        for number, title in enumerate(titles)
    ]
    feed = HEAD + "\n".join(item(number, title) for number, title in enumerate(titles)) + TAIL
    with tempfile.TemporaryDirectory() as folder:
        found = [
            [(one.product_id, one.image, one.metadata["title"]) for one in read(Path(folder), name, content)]
            for name, content in (
                ("a.json", json.dumps(rows, indent=indent)),
                ("a.jsonl", "".join(json.dumps(row) + "\n" for row in rows)),
            )
        ]
        of_feed = [(one.product_id, one.metadata["title"]) for one in read(Path(folder), "a.xml", feed)]
    expected = [(row["product_id"], row["image"], row["title"]) for row in rows]
    assert found == [expected, expected]
    assert of_feed == [(number, title.strip()) for number, _, title in expected]


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 10_000), st.sampled_from(["a.json", "a.xml"]))
def test_a_feed_cut_anywhere_is_an_error(place, name):
    rows = [{"product_id": f"{number}", "image": "é.jpg", "title": "cup"} for number in range(4)]
    whole = json.dumps(rows, ensure_ascii=False) if name == "a.json" else HEAD + "".join(item(1, "é") * 3) + TAIL
    content = whole.encode()
    with tempfile.TemporaryDirectory() as folder, pytest.raises(CatalogError) as caught:
        read(Path(folder), name, content[: place % len(content)])
    assert len(str(caught.value).splitlines()) == 1


@settings(deadline=None, max_examples=150)
@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"[{", b'[{"product_id":"1","image":"a"},', b"<rss><item>", HEAD.encode(), b"PK\x03\x04"]),
    st.sampled_from(["a.json", "a.xml", "a.xlsx", "a.txt", "a.xls"]),
)
def test_random_bytes_raise_nothing_but_a_catalog_error(tail, head, name):
    with tempfile.TemporaryDirectory() as folder:
        try:
            read(Path(folder), name, head + tail)
        except CatalogError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017  not raising is fine, too


@pytest.mark.parametrize(
    "declaration",
    ['<!ENTITY a "aaaa">', '<!ENTITY % p "x">', '<!ENTITY f SYSTEM "file:///etc/passwd">'],
)
def test_entities_are_refused_before_they_are_used(tmp_path, declaration):
    content = f"<?xml version='1.0'?><!DOCTYPE rss [{declaration}]>{HEAD.partition('?>')[2]}{item(1, 'x')}{TAIL}"
    with pytest.raises(CatalogError, match="declares the entity"):
        read(tmp_path, "a.xml", content)


def test_deep_elements_are_refused_and_long_items_skipped(tmp_path):
    with pytest.raises(CatalogError, match="nested"):
        read(tmp_path, "a.xml", HEAD + "<item>" + "<a>" * 5_000)
    first, second = read(tmp_path, "a.xml", HEAD + item(1, "x" * (17 << 20)) + item(2, "cup") + TAIL)
    assert isinstance(first, Skipped)
    assert second.metadata["title"] == "tcup"


@pytest.mark.parametrize("name", ["a.json", "a.xml"])
def test_memory_does_not_grow_with_a_feed(tmp_path, name):
    count = 8_000
    with (tmp_path / name).open("w") as file:
        if name == "a.json":
            rows = ({"product_id": f"{number}", "image": "a.jpg", "title": "x" * 900} for number in range(count))
            file.write("[" + ",".join(map(json.dumps, rows)) + "]")
        else:
            file.write(HEAD + "".join(item(number, "x" * 900) for number in range(count)) + TAIL)
    products = reader.read_catalog(tmp_path / name, SHIPPED, Columns())
    next(products)
    tracemalloc.start()
    try:
        assert sum(1 for _ in products) == count - 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8_000_000


def test_a_shops_row_with_a_fault_is_skipped_alone(tmp_path):
    head = "Handle,Title,Variant SKU,Variant Price,Image Src\n"
    table = head + "mug,Mug,M-1,5,a.jpg\nmug,x,y,z,1,2,3\nlamp,Lamp,L-1,7,b.jpg\n"
    mug, lamp, broken = sorted(read(tmp_path, "s.csv", table), key=lambda one: isinstance(one, Skipped))
    assert (mug.product_id, lamp.product_id) == ("mug", "lamp")
    assert broken.is_torn


def test_the_columns_of_a_shop_may_be_named_by_hand(tmp_path):
    table = "Handle,Title,Variant SKU,Variant Price,Image Src\nmug,Mug,M-1,5,a.jpg\nmug,,M-2,4,b.jpg\n"
    (tmp_path / "s.csv").write_text(table, encoding="utf-8")
    (mug,) = reader.read_catalog(tmp_path / "s.csv", SHIPPED, Columns("Handle", "Image Src"))
    assert (mug.product_id, mug.image, mug.metadata["Variant Price"]) == ("mug", "a.jpg", "4")
    first, second = reader.read_catalog(tmp_path / "s.csv", SHIPPED, Columns("Variant SKU", "Image Src"))
    assert (first.product_id, second.product_id) == ("M-1", "M-2")


WOO = 'ID,Type,SKU,Name,Images\n1,simple,S-1,Mug,"a.jpg, b.jpg"\n2,variation,S-2,Mug red,c.jpg\n'
GOOGLE = "id\ttitle\timage_link\tadditional_image_link\n1\tMug\ta.jpg\tb.jpg,c.jpg\n"


@pytest.mark.parametrize(
    ("table", "columns", "expected"),
    [
        (WOO, Columns("ID", "Images"), ("1", "a.jpg", ("b.jpg",))),
        (WOO, Columns("SKU", "Images"), ("S-1", "a.jpg", ("b.jpg",))),
        (WOO, Columns("SKU"), ("S-1", "a.jpg", ("b.jpg",))),
        (WOO, Columns(image="Images"), ("1", "a.jpg", ("b.jpg",))),
        (GOOGLE, Columns("id", "image_link"), ("1", "a.jpg", ("b.jpg", "c.jpg"))),
        (GOOGLE, Columns(image="image_link"), ("1", "a.jpg", ("b.jpg", "c.jpg"))),
    ],
)
def test_a_shops_rows_are_merged_also_where_its_columns_are_named(tmp_path, table, columns, expected):
    (tmp_path / "s.csv").write_text(table, encoding="utf-8")
    (product,) = reader.read_catalog(tmp_path / "s.csv", SHIPPED, columns)
    assert (product.product_id, product.image, product.more_images) == expected


@pytest.mark.parametrize(
    "columns", [Columns(), Columns("id"), Columns(image="image_link"), Columns("id", "image_link")]
)
def test_a_feed_has_all_its_images_whichever_column_is_named(tmp_path, columns):
    more = "<g:additional_image_link>b.jpg</g:additional_image_link></item>"
    (tmp_path / "f.xml").write_text(HEAD + item(1, "").replace("</item>", more) + TAIL, encoding="utf-8")
    (product,) = reader.read_catalog(tmp_path / "f.xml", SHIPPED, columns)
    assert (product.product_id, product.image, product.more_images) == ("1", "1.jpg", ("b.jpg",))


def test_a_shops_rows_stay_where_another_column_is_the_id(tmp_path):
    (tmp_path / "s.csv").write_text(WOO, encoding="utf-8")
    items = list(reader.read_catalog(tmp_path / "s.csv", SHIPPED, Columns("Name", "Images")))
    assert [one.product_id for one in items] == ["Mug", "Mug red"]


def test_a_format_may_be_named_by_hand(tmp_path):
    content = io.StringIO()
    json.dump([{"product_id": "1", "image": "a.jpg"}], content)
    (product,) = read(tmp_path, "a.txt", content.getvalue(), format="json")
    assert product.product_id == "1"
    with pytest.raises(CatalogError, match="--format shopify"):
        read(tmp_path, "a.csv", "product_id,image\n1,a.jpg\n", format="shopify")
