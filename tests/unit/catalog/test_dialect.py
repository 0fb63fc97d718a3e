"""Delimited text in any dialect: read back exactly, or refused with the flag that decides."""

from __future__ import annotations

import os
import random
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.dialects import WrittenTable, write_table

from ingest.catalog import reader
from ingest.catalog.options import ReadOptions
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import AmbiguousCatalogError, CatalogError
from ingest.core.records import Product, Skipped

SHIPPED = contract_file.load(contract_file.default_path())
FILES = 2_000 if os.environ.get("INGEST_SOAK") else 300
"""How many generated files are read: 0 wrong, and at most one in twenty refused."""


def read(path: Path, **options) -> list[Product | Skipped]:
    return list(reader.read_catalog(path, SHIPPED, Columns(options=ReadOptions(**options))))


def written(folder: Path, content: str | bytes, name: str = "p.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def prices(folder: Path, *cells: str, **options) -> list[float | None]:
    """Return what the cells of a price column become; None for a row that is skipped."""
    rows = "".join(f"{number}\ta.jpg\tcup\t{cell}\n" for number, cell in enumerate(cells))
    items = read(written(folder, "product_id\timage\ttitle\tprice\n" + rows, "p.tsv"), **options)
    return [item.metadata["price"] if isinstance(item, Product) else None for item in items]


def judge(table: WrittenTable) -> str:
    """Return `right`, or why a table was refused; fails for anything that is read otherwise."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            items = read(written(Path(folder), table.content, f"p{table.ending}"))
        except CatalogError as error:
            return str(error).partition(": ")[2]
    found = [
        (item.product_id, item.image, item.metadata["title"], item.metadata["price"])
        if isinstance(item, Product)
        else item
        for item in items
    ]
    assert found == table.rows, table.about
    return "right"


@settings(deadline=None, max_examples=150)
@given(st.randoms(use_true_random=False))
def test_any_table_in_any_dialect_is_read_back_or_refused(chance):
    judge(write_table(chance))


def test_of_many_generated_files_none_is_wrong_and_few_are_refused():
    told = [judge(write_table(random.Random(seed))) for seed in range(FILES)]
    refused = [why for why in told if why != "right"]
    assert len(refused) <= FILES / 20, refused


@pytest.mark.parametrize(
    ("content", "name", "title"),
    [
        ("product_id;image;title\n1;a.jpg;cup\n", "p.csv", "cup"),
        ("product_id|image|title\n1|a.jpg|cup\n", "p.csv", "cup"),
        ("product_id\timage\ttitle\n1\ta.jpg\tcup\n", "p.csv", "cup"),
        ("product_id,image,title\n1,a.jpg,cup\n", "p.txt", "cup"),
        ("product_id,image,title\n1,a.jpg,cup\n", "p.tsv", "cup"),
        ("Product_ID,Image,Title\n1,a.jpg,cup\n", "p.csv", "cup"),
        ("sep=;\r\nproduct_id;image;title\r\n1;a.jpg;cup\r\n", "p.csv", "cup"),
        ('"sep=|"\nproduct_id|image|title\n1|a.jpg|cup\n', "p.csv", "cup"),
        ('product_id,image,title\n1,a.jpg,"Plate 12\\", green"\n', "p.csv", 'Plate 12", green'),
        ('product_id,image,title\n1,a.jpg,"a \\\\ b \\" c:\\d"\n', "p.csv", 'a \\ b " c:\\d'),
        ('product_id,image,title\n1,a.jpg,"C:\\dir\\"\n', "p.csv", "C:\\dir\\"),
        ("product_id,image,title\n1,a.jpg,Küche grün 5 €\n".encode("windows-1252"), "p.csv", "Küche grün 5 €"),
        ("product_id,image,title\n1,a.jpg,Küche grün\n".encode("cp850"), "p.csv", "Küche grün"),
        ("product_id,image,title\n1,a.jpg,Красная чашка\n".encode("windows-1251"), "p.csv", "Красная чашка"),
        ("product_id\timage\ttitle\n1\ta.jpg\tKüche\n".encode("utf-16"), "p.txt", "Küche"),
        ("product_id,image,title\n1,a.jpg,Küche\n".encode("utf-16-be"), "p.csv", "Küche"),
        ("product_id,image,title\n1,a.jpg,Küche\n".encode("utf-32"), "p.csv", "Küche"),
    ],
)
def test_a_dialect_is_recognised_by_its_header_and_its_bytes(tmp_path, content, name, title):
    (product,) = read(written(tmp_path, content, name))
    assert (product.product_id, product.image, product.metadata["title"]) == ("1", "a.jpg", title)


@pytest.mark.parametrize(
    ("content", "flags"),
    [
        (b"product_id,image,title\n1,a.jpg,cr\xe8me\n", {"encoding": ("windows-1250", "windows-1252")}),
        ('product_id,image,title\n1,a.jpg,19\\" rack\n', {"quotes": ("backslash", "doubled")}),
        ("id,sku;pic\nProduct_ID,Image;1;2\n", {}),
    ],
)
def test_two_possible_readings_are_refused_until_a_flag_decides(tmp_path, content, flags):
    path = written(tmp_path, content)
    with pytest.raises(CatalogError) as caught:
        read(path)
    for flag, values in flags.items():
        assert isinstance(caught.value, AmbiguousCatalogError)
        titles = set()
        for value in values:
            assert f"--{flag} {value}" in str(caught.value)
            (product,) = read(path, **{flag: value})
            titles.add(product.metadata["title"])
        assert len(titles) == 2


def test_the_last_reading_decides_where_two_are_possible(tmp_path):
    path = written(tmp_path, 'product_id;image;title;price\n1;a.jpg;19\\" cr\xe8me;"1,250"\n'.encode("latin-1"))
    recorder = CatalogRecorder()
    chosen = ReadOptions(encoding="windows-1252", quotes="backslash", decimal="comma")
    (first,) = reader.read_catalog(path, SHIPPED, Columns(options=chosen), recorder=recorder)
    assert recorder.profile is not None
    assert recorder.profile.decimals == {"price": "comma"}
    (again,) = read(path, last=recorder.profile)
    assert again == first
    assert (first.metadata["title"], first.metadata["price"]) == ('19" crème', 1.25)


def test_a_code_page_that_has_all_words_as_the_best_one_is_no_other_reading(tmp_path):
    with pytest.raises(AmbiguousCatalogError, match="gb18030 or --encoding windows-1250"):  # and not cp949
        read(written(tmp_path, b"\xa3\xc1", "p.txt"))


def test_the_last_quotes_of_a_shops_table_are_kept(tmp_path):
    table = 'Handle;Title;Variant SKU;Variant Price;Image Src\nrack;19\\" rack;R-1;5;a.jpg\n'
    path = written(tmp_path, table)
    with pytest.raises(AmbiguousCatalogError):
        read(path)
    for quotes, title in (("backslash", '19" rack'), ("doubled", '19\\" rack')):
        recorder = CatalogRecorder()
        list(reader.read_catalog(path, SHIPPED, Columns(options=ReadOptions(quotes=quotes)), recorder=recorder))
        (product,) = read(path, last=recorder.profile)
        assert product.metadata["title"] == title


def test_a_profile_of_files_in_two_dialects_decides_for_neither(tmp_path):
    recorder = CatalogRecorder()
    path = written(tmp_path, 'product_id,image,title\n1,a.jpg,19\\" rack\n')
    list(reader.read_catalog(path, SHIPPED, Columns(options=ReadOptions(quotes="backslash")), recorder=recorder))
    assert recorder.profile is not None
    both = replace(recorder.profile, dialect='CSV + CSV and \\", LF')
    with pytest.raises(AmbiguousCatalogError):
        read(path, last=both)


@pytest.mark.parametrize(
    ("cells", "found"),
    [
        (["12,50", "1.049,00"], [12.5, 1049.0]),
        (["12,50", "$1,049.00", "19.99 EUR"], [12.5, 1049.0, 19.99]),
        (["1.250", "0.5"], [1.25, 0.5]),
        (["1.250"], [1.25]),
        (["1.250", "1.049,00"], [1250.0, 1049.0]),
        (["1,250", "1,049.00"], [1250.0, 1049.0]),
        (["1,250", "12,5"], [1.25, 12.5]),
        (["1'250", "1 250", "1.000.000", "2,5"], [1250.0, 1250.0, 1_000_000.0, 2.5]),
        (
            ["€ 12", "12 zł", "-$3.50", "CHF 1'299.50", "12,-", "Fr. 9.-", "12,50 руб."],
            [12.0, 12.0, -3.5, 1299.5, 12.0, 9.0, 12.5],
        ),
        (["12 cm", "2 for 10", "7-8", "12.5.1"], [None, None, None, None]),
    ],
)
def test_a_sign_is_believed_if_a_value_proves_it(tmp_path, cells, found):
    assert prices(tmp_path, *cells) == found


@pytest.mark.parametrize(
    "cells",
    [["1,250"], ["5", "1,250"], ["1.250", "12,50"], ["1.250", "1,250"], ["1.250", "0.5", "0,5"],
     ["1.250", "1.250.000", "12.50"]],
)  # fmt: skip
def test_a_number_that_may_be_two_is_refused_until_a_flag_decides(tmp_path, cells):
    with pytest.raises(AmbiguousCatalogError, match="--decimal point or --decimal comma"):
        prices(tmp_path, *cells)
    at = next(at for at, cell in enumerate(cells) if "250" in cell)
    point, comma = (prices(tmp_path, *cells, decimal=sign)[at] for sign in ("point", "comma"))
    assert {point, comma} == {1.25, 1250.0}


def test_a_comma_that_may_group_is_not_believed_beside_a_decimal_point(tmp_path):
    assert prices(tmp_path, "1,250", "12.50", "1.250") == [None, 12.5, 1.25]
    assert prices(tmp_path, "1,250", "12.50", decimal="point") == [1250.0, 12.5]


@pytest.mark.parametrize("word", ["NULL", "null", "\\N", "N/A", "-", "nan", " n/a "])
def test_a_word_for_nothing_is_a_missing_number(tmp_path, word):
    (price,) = prices(tmp_path, word)
    assert price != price  # noqa: PLR0124  it is NaN


def test_the_null_of_databases_is_an_empty_text_if_a_number_has_it_too(tmp_path):
    table = "product_id,image,title,price,note\n1,a.jpg,\\N,5,\\N\n"
    (alone,) = read(written(tmp_path, table))
    assert (alone.metadata["title"], alone.metadata["note"]) == ("\\N", "\\N")
    first, _ = read(written(tmp_path, table + "2,a.jpg,cup,\\N,x\n"))
    assert first.metadata["title"] == ""
    assert "note" not in first.metadata
