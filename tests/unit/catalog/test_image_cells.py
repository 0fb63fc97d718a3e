"""Several images in a cell, in columns, in lists; what can be read in two ways is refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ingest.catalog import image_cells, reader
from ingest.catalog.image_cells import AmbiguousCellError
from ingest.catalog.rows import Columns
from ingest.core import contract_file, image_list
from ingest.core.errors import ContractError
from ingest.core.image_list import ImageList
from ingest.core.records import Product, Reason

COMMA = ImageList(separator=",")
SCHEMA = """
version = 1
alias = "products"
[product_id]
max_length = 64
[embedding]
M = 16
efConstruction = 200
ef = 64
[[fields]]
name = "image"
type = "VARCHAR"
max_length = 60
default = ""
[images]
"""
URLS = st.builds(
    "https://{}.example/{}".format, st.from_regex(r"[a-z]{1,8}", fullmatch=True),
    st.from_regex(r"[a-z0-9_,;/]{0,12}[a-z0-9](\.jpg|\.png|)", fullmatch=True),
)  # fmt: skip


@pytest.mark.parametrize(
    ("cell", "separator", "expected"),
    [
        ("a.jpg", None, ["a.jpg"]),
        ("https://a.example/w_100,h_200/a.jpg", None, ["https://a.example/w_100,h_200/a.jpg"]),
        ("https://a.example/x?u=https://b.example/a.jpg", None, ["https://a.example/x?u=https://b.example/a.jpg"]),
        ("https://a.example/fetch/w_1,h_2/https://b.example/a.jpg", None,
         ["https://a.example/fetch/w_1,h_2/https://b.example/a.jpg"]),
        ('["a.jpg", "https://b.example/c,d.jpg"]', None, ["a.jpg", "https://b.example/c,d.jpg"]),
        (["a.jpg", None, "b.jpg"], None, ["a.jpg", "b.jpg"]),
        ("[1].jpg", None, ["[1].jpg"]),
        ("[a] b [c]", None, ["[a] b [c]"]),
        ("a.jpg, b.jpg,", ",", ["a.jpg", "b.jpg"]),
        ("https://a.example/1.jpg, https://a.example/2.jpg", ",",
         ["https://a.example/1.jpg", "https://a.example/2.jpg"]),
        ("https://a.example/w_100,h_200/a.jpg,https://a.example/b.jpg", ",",
         ["https://a.example/w_100,h_200/a.jpg", "https://a.example/b.jpg"]),
        ("https://a.example/1.jpg,https://a.example/w_1,2.jpg", ",",
         ["https://a.example/1.jpg", "https://a.example/w_1,2.jpg"]),
        ("//a.example/1.jpg|//a.example/2.jpg", "|", ["//a.example/1.jpg", "//a.example/2.jpg"]),
        ("https://a.example/1.jpg\nhttps://a.example/2.jpg", "\n",
         ["https://a.example/1.jpg", "https://a.example/2.jpg"]),
        ("a.jpg  b.jpg", " ", ["a.jpg", "b.jpg"]),
        ("one,two", ",", ["one", "two"]),
        ("a,b.jpg|c.jpg", "", ["a,b.jpg|c.jpg"]),
        ("", ",", []),
        (None, None, [None]),
    ],
)  # fmt: skip
def test_a_cell_names_these_images(cell, separator, expected):
    rule = ImageList(separator=separator)
    assert image_cells.split(cell, rule) == expected
    if len(expected) > 1:
        assert not image_cells.are_single([cell, "x.jpg"], rule)


@pytest.mark.parametrize(
    ("cell", "separator"),
    [
        ("https://a.example/1.jpg|https://a.example/2.jpg", None),
        ("https://a.example/1.jpg, https://a.example/2.jpg", None),
        ("https://a.example/1.jpg,https://a.example/2.jpg", None),
        ("https://a.example/1.jpg https://a.example/2.jpg", None),
        ("https://a.example/1.jpg\nhttps://a.example/2.jpg", None),
        ("//a.example/1.jpg;https://a.example/2.jpg", None),
        ("https://a.example/1.jpg,2.jpg", ","),
        ("https://a.example/1.jpg, more/2", ","),
        ("Chair, red.jpg", ","),
        ([1, 2], None),
        ([{"src": "a.jpg"}], None),
        ('[["a.jpg"]]', None),
    ],
)  # fmt: skip
def test_what_can_be_read_in_two_ways_is_refused(cell, separator):
    rule = ImageList(separator=separator)
    assert not image_cells.are_single([cell], rule)
    with pytest.raises(AmbiguousCellError) as error:
        image_cells.split(cell, rule)
    assert "\n" not in str(error.value)


@given(urls=st.lists(URLS, min_size=1, max_size=5), separator=st.sampled_from([",", ";", "|", "\n", " ", "\t"]),
       around=st.sampled_from(["", " "]))  # fmt: skip
def test_urls_joined_by_a_separator_come_back_or_are_refused(urls, separator, around):
    cell = (around + separator + around).join(urls)
    try:
        assert image_cells.split(cell, ImageList(separator=separator)) == urls
    except AmbiguousCellError:
        # only a URL that contains the separator after what looks like an image can be two
        assert any(separator in url for url in urls)
    assert image_cells.split(json.dumps(urls), ImageList()) == urls


@given(cell=st.one_of(st.text(), st.lists(st.text())), separator=st.sampled_from([None, "", ",", "|", " "]))
def test_a_block_that_is_said_to_be_single_is(cell, separator):
    rule = ImageList(separator=separator)
    assume(image_cells.are_single([cell], rule))
    assert image_cells.split(cell, rule) in ([cell], [cell.strip()], [])


@pytest.fixture
def read(tmp_path):
    def products(text, images, name="catalog.csv", column="image"):
        (tmp_path / "schema.toml").write_text(SCHEMA + images, encoding="utf-8")
        (tmp_path / name).write_text(text, encoding="utf-8")
        contract = contract_file.load(tmp_path / "schema.toml")
        return list(reader.read_catalog(tmp_path / name, contract, Columns("product_id", column)))

    return products


def test_the_columns_are_tried_in_their_order_and_no_image_twice(read):
    text = "product_id,image,more,title\n1,a.jpg,b.jpg|a.jpg|c.jpg,x\n2,,d.jpg,\n3,e.jpg,,\n4,,,\n"
    first, second, third, none = read(text, 'columns = ["more", "image"]\nseparator = "|"\nat_most = 3')
    assert (first.image, first.more_images) == ("b.jpg", ("a.jpg", "c.jpg"))
    assert first.metadata["image"] == "b.jpg"
    assert (second.image, second.more_images) == ("d.jpg", ())
    assert (third.image, third.more_images) == ("e.jpg", ())
    assert none.reason is Reason.NO_IMAGE
    [product, *_] = read(text, 'columns = ["more"]\nseparator = "|"\nat_most = 2')
    assert (product.image, product.more_images) == ("a.jpg", ("b.jpg",))


def test_an_image_that_is_no_text_or_does_not_fit_its_field_is_left_out(read):
    text = f'{{"product_id": "1", "image": ["a\\u0007.jpg", "b.jpg", "{"c" * 61}.jpg", "d.jpg"]}}\n'
    [product] = read(text, "", "catalog.jsonl")
    assert (product.image, product.more_images) == ("b.jpg", ("d.jpg",))


def test_a_row_that_can_be_read_in_two_ways_is_skipped_with_what_to_write(read):
    text = "product_id,image\n1,https://a.example/1.jpg|https://a.example/2.jpg\n2,a.jpg\n"
    skipped, product = read(text, "")
    assert (skipped.reason, product.image) == (Reason.BAD_ROW, "a.jpg")
    assert '[images] separator = "|"' in skipped.detail
    [first, _] = read(text, 'separator = "|"')
    assert (first.image, first.more_images) == ("https://a.example/1.jpg", ("https://a.example/2.jpg",))
    [first, _] = read(text, 'separator = ""')
    assert (first.image, first.more_images) == ("https://a.example/1.jpg|https://a.example/2.jpg", ())


def test_a_column_that_no_row_has_is_said(read, caplog):
    assert isinstance(read("product_id,image\n1,a.jpg\n", 'columns = ["additional_image_link"]')[0], Product)
    assert "no row has the column 'additional_image_link' of [images]" in caplog.text


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ('combine = "each"', 'images.combine is "each", which this version of ingest does not know; write "first"'),
        ('combine = "last"', "images.combine is 'last'"),
        ('separator = "."', "images.separator is '.'"),
        ('separator = "and"', "images.separator is 'and'"),
        ("separator = 1", "images.separator is 1"),
        ("at_most = 0", "images.at_most is 0; it must be a whole number from 1 to 100"),
        ('columns = "image"', "images.columns must be a list"),
        ('columns = ["a", "a"]', "images.columns names a column twice"),
        ("order = 1", "images.order is not a key of the contract; known: at_most, columns, combine, separator"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(read, table, said):
    with pytest.raises(ContractError) as error:
        read("product_id,image\n1,a.jpg\n", table)
    assert said in str(error.value)


def test_the_table_changes_no_name_of_a_collection(tmp_path):
    from ingest.core.contract import Space, collection_name

    names = set()
    for number, table in enumerate(("", 'separator = ","\nat_most = 3\ncolumns = ["b"]\ncombine = "first"')):
        (tmp_path / f"{number}.toml").write_text(SCHEMA + table, encoding="utf-8")
        names.add(collection_name(contract_file.load(tmp_path / f"{number}.toml"), Space("m", "sha256:1", 8, {})))
    (tmp_path / "none.toml").write_text(SCHEMA.replace("[images]", ""), encoding="utf-8")
    names.add(collection_name(contract_file.load(tmp_path / "none.toml"), Space("m", "sha256:1", 8, {})))
    assert len(names) == 1
    assert image_list.ONE.at_most == 10
