"""Real files in four formats: good rows, bad rows, and random bytes."""

from __future__ import annotations

import csv
import gzip
import io
import json
import math
import random
import struct
import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ingest.catalog import reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError
from ingest.core.field import Field
from ingest.core.records import Product, Reason, Skipped, Stage

if TYPE_CHECKING:
    from ingest.core.contract import Contract

SHIPPED = contract_file.load(contract_file.default_path())
PLAIN = replace(SHIPPED, fields=())
"""A contract without fields: every column except the id is kept as it is."""


def with_field(kind: str, default=None, length: int = 20) -> Contract:
    field = Field("value", kind, "value", length if kind == "VARCHAR" else 0, default)
    return replace(SHIPPED, fields=(field,))


def written(folder: Path, content: str | bytes, name: str = "products.csv") -> Path:
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def everything(path: Path, contract: Contract = SHIPPED, columns: Columns | None = None):
    return list(reader.read_catalog(path, contract, columns or Columns()))


def one_value(folder: Path, kind: str, value, default=None, **limits):
    """Return what a JSON catalog's only cell becomes: the kept value, or the Skipped."""
    line = json.dumps({"product_id": "a", "image": "a.jpg", "value": value})
    (item,) = everything(written(folder, line, "p.jsonl"), with_field(kind, default, **limits))
    return item.metadata["value"] if isinstance(item, Product) else item


def complaint(path: Path, contract: Contract = SHIPPED, columns: Columns | None = None) -> str:
    with pytest.raises(CatalogError) as caught:
        everything(path, contract, columns)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert len(message.splitlines()) == 1
    return message


def test_a_good_row_becomes_a_product_in_the_types_of_the_contract(tmp_path):
    path = written(
        tmp_path,
        "product_id,image,title,category,colour,price,brand,stock\n007, a.jpg ,Red,shirts,red,12.50,Acme,3\n",
    )
    (product,) = everything(path)
    assert (product.product_id, product.image, product.line) == ("007", "a.jpg", 2)
    assert product.metadata == {
        "title": "Red",
        "category": "shirts",
        "colour": "red",
        "price": 12.5,
        "brand": "Acme",
        "image": "a.jpg",
        "stock": "3",
    }


def test_empty_cells_and_missing_columns_become_the_default(tmp_path):
    (product,) = everything(written(tmp_path, "product_id,image,title,price\n1,a.jpg,,\n"))
    assert product.metadata["title"] == product.metadata["brand"] == ""
    assert math.isnan(product.metadata["price"])


@pytest.mark.parametrize("line", ['{"product_id":"a","image":"i","value":null}', '{"product_id":"a","image":"i"}'])
def test_a_field_without_a_default_must_not_be_empty(tmp_path, line):
    (skipped,) = everything(written(tmp_path, line, "p.jsonl"), with_field("INT64"))
    assert skipped.reason is Reason.BAD_METADATA
    assert skipped.detail.startswith("value is empty and has no default")


def test_the_two_columns_may_have_other_names(tmp_path):
    path = written(tmp_path, "sku,image,product_id,picture\nA1,old.jpg,other,new.jpg\n")
    (product,) = everything(path, SHIPPED, Columns("sku", "picture"))
    assert (product.product_id, product.image) == ("A1", "new.jpg")
    assert product.metadata["image"] == "new.jpg"
    assert not {"sku", "picture", "product_id"} & product.metadata.keys()


def test_one_column_may_be_both_the_id_and_the_image(tmp_path):
    (product,) = everything(written(tmp_path, "file\nshirt.jpg\n"), SHIPPED, Columns("file", "file"))
    assert product.product_id == product.image == "shirt.jpg"


def test_other_columns_are_kept_or_dropped_as_the_contract_says(tmp_path):
    path = written(tmp_path, "product_id,image,size,empty,,row_digest,$meta\n1,a.jpg,XL,,nameless,mine,mine\n")
    (kept,) = everything(path, PLAIN)
    assert kept.metadata == {"image": "a.jpg", "size": "XL"}
    (dropped,) = everything(path, replace(PLAIN, keeps_others=False))
    assert dropped.metadata == {}


def test_json_scalars_stay_scalars_and_the_rest_becomes_text(tmp_path):
    row = {
        "n": 3,
        "x": 1.5,
        "yes": True,
        "no": None,
        "tags": ["b", "a"],
        "size": {"w": 1, "h": 2},
        "far": 10**25,
    }
    path = written(tmp_path, json.dumps({"product_id": 17, "image": "a.jpg", **row}), "p.ndjson")
    (product,) = everything(path, PLAIN)
    assert product.product_id == "17"
    kept = {
        "n": 3,
        "x": 1.5,
        "yes": True,
        "tags": '["b", "a"]',
        "size": '{"h": 2, "w": 1}',
        "far": str(10**25),
    }
    assert product.metadata == {"image": "a.jpg", **kept}


def test_a_row_whose_other_columns_exceed_the_dynamic_field_is_skipped(tmp_path):
    head = "product_id,image,blurb\n"
    fits, too_long = f"1,a.jpg,{'x' * 65_000}\n", f"2,a.jpg,{'ü' * 33_000}\n"
    product, skipped = everything(written(tmp_path, head + fits + too_long), PLAIN)
    assert isinstance(product, Product)
    assert skipped.reason is Reason.BAD_METADATA
    assert "'blurb'" in skipped.detail


@pytest.mark.parametrize(
    ("line", "product_id", "reason", "word"),
    [
        (",a.jpg", "", Reason.NO_ID, "product_id is empty"),
        ("  ,a.jpg", "", Reason.NO_ID, "product_id is empty"),
        ("b,", "b", Reason.NO_IMAGE, "image is empty"),
        ("a,other.jpg", "a", Reason.DUPLICATE_ID, "first seen in line 2"),
        ("b,b.jpg,more,cells", "b", Reason.BAD_ROW, "4 cells under a header of 3"),
        ("b", "b", Reason.BAD_ROW, "only 1 of 3 cells, too few for"),
        ("b\0b,b.jpg", "", Reason.BAD_ROW, "U+0000"),
        ('"b\nb",b.jpg', "", Reason.BAD_ROW, "U+000A"),
        ("b,b\0.jpg", "b", Reason.BAD_ROW, "U+0000"),
    ],
)
def test_a_bad_row_is_skipped_and_reading_continues(tmp_path, line, product_id, reason, word):
    path = written(tmp_path, f"product_id,image,title\na,a.jpg,A\n{line}\nz,z.jpg\n")
    first, skipped, last = everything(path)
    assert (first.product_id, last.product_id) == ("a", "z")
    assert isinstance(skipped, Skipped)
    assert (skipped.product_id, skipped.stage, skipped.reason) == (product_id, Stage.CATALOG, reason)
    assert skipped.line == 3
    assert word in skipped.detail
    assert len(skipped.detail.splitlines()) == 1


def test_the_length_of_an_id_is_counted_in_bytes(tmp_path):
    path = written(tmp_path, f"product_id,image\n{'ü' * 64},a.jpg\n{'ü' * 65},b.jpg\n")
    product, skipped = everything(path)
    assert isinstance(product, Product)
    assert skipped.reason is Reason.ID_TOO_LONG
    assert "130 bytes of UTF-8; at most 128" in skipped.detail


def test_the_first_row_with_an_id_counts_even_if_it_is_skipped(tmp_path):
    first, second = everything(written(tmp_path, "product_id,image\na,\na,a.jpg\n"))
    assert (first.reason, second.reason) == (Reason.NO_IMAGE, Reason.DUPLICATE_ID)


TORN_MUGS = {'a,b.jpg,"Mug "XL" blue"': 'a " inside', "a,b.jpg,Mug,blue": "4 cells under a header of 3"}


@pytest.mark.parametrize(("torn", "fault"), TORN_MUGS.items())
@pytest.mark.parametrize("between", [0, 2000])
def test_a_broken_row_with_the_id_of_an_earlier_good_one_is_a_duplicate_that_names_its_fault(
    tmp_path, torn, fault, between
):
    others = "".join(f"{number},b.jpg,Cup\n" for number in range(between))
    path = written(tmp_path, f"product_id,image,title\na,b.jpg,Mug\n{others}{torn}\n")
    first, *_, second = everything(path)
    assert isinstance(first, Product)
    assert (second.product_id, second.reason, second.is_torn) == ("a", Reason.DUPLICATE_ID, True)
    assert second.detail.startswith(f"first seen in line 2; {fault}")


@pytest.mark.parametrize("torn", TORN_MUGS)
@pytest.mark.parametrize("again", ["a,b.jpg,Mug", *TORN_MUGS])
def test_a_broken_row_that_is_the_first_with_its_id_counts(tmp_path, torn, again):
    first, second = everything(written(tmp_path, f"product_id,image,title\n{torn}\n{again}\n"))
    assert [(item.product_id, item.reason) for item in (first, second)] == [
        ("a", Reason.BAD_ROW),
        ("a", Reason.DUPLICATE_ID),
    ]


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ('{"product_id": "b", ', "not JSON"),
        ("[1, 2]", "not a JSON object but [1, 2]"),
        ("[" * 100_000, "JSON that cannot be stored"),
        ('{"product_id": "b\\ud800"}', "JSON that cannot be stored"),
        ('{"product_id": ' + "1" * 5000 + "}", "JSON that cannot be stored"),
        ('{"product_id": 17.0, "image": "b.jpg"}', "product_id is 17.0"),
        ('{"product_id": true, "image": "b.jpg"}', "product_id is True"),
        ('{"product_id": "b", "image": {"bytes": "x"}}', "an image is a URL or a path"),
    ],
)
def test_a_bad_json_line_is_skipped_and_reading_continues(tmp_path, line, word):
    good = '{"product_id": "a", "image": "a.jpg"}'
    last = json.dumps({"product_id": "z", "image": "z.jpg"})
    path = written(tmp_path, f"{good}\n{line}\n\n{last}", "p.jsonl")
    first, skipped, product = everything(path)
    assert (first.line, skipped.line, product.line) == (1, 2, 4)
    assert skipped.reason is Reason.BAD_ROW
    assert word in skipped.detail


@pytest.mark.parametrize(
    ("kind", "cell", "kept"),
    [
        ("INT64", "12", 12),
        ("INT64", " 12 ", 12),
        ("INT64", "12.0", 12),
        ("INT64", 12.0, 12),
        ("INT64", -(2**63), -(2**63)),
        ("DOUBLE", "12.50", 12.5),
        ("DOUBLE", ".5", 0.5),
        ("DOUBLE", 3, 3.0),
        ("FLOAT", "0.1", struct.unpack("f", struct.pack("f", 0.1))[0]),
        ("BOOL", "Yes", True),
        ("BOOL", " 0 ", False),
        ("BOOL", 1, True),
        ("BOOL", False, False),
        ("BOOL", "1.0", True),  # as pandas writes a column of true and false that has gaps
        ("BOOL", "0.0", False),
        ("BOOL", " 1. ", True),
        ("BOOL", 1.0, True),
        ("BOOL", 0.0, False),
        ("VARCHAR", 12, "12"),
        ("VARCHAR", True, "true"),
        ("VARCHAR", " as it is ", " as it is "),
        ("VARCHAR", "ü" * 10, "ü" * 10),
    ],
)
def test_a_cell_becomes_the_type_of_its_field(tmp_path, kind, cell, kept):
    value = one_value(tmp_path, kind, cell)
    assert value == kept
    assert type(value) is type(kept)


@pytest.mark.parametrize(
    ("kind", "cell"),
    [
        ("INT64", "12.5"),
        ("INT64", 12.5),
        ("INT64", 2**63),
        ("INT64", "9" * 30),
        ("INT64", "1_000"),
        ("INT64", float("inf")),
        ("INT64", True),
        ("INT64", "١٢"),
        ("DOUBLE", "1.299,00.0"),
        ("DOUBLE", "2 for 10"),
        ("DOUBLE", "nan"),
        ("DOUBLE", "inf"),
        ("DOUBLE", float("-inf")),
        ("DOUBLE", "1e999"),
        ("DOUBLE", 10**400),
        ("DOUBLE", [1]),
        ("DOUBLE", False),
        ("FLOAT", "1e39"),
        ("BOOL", "maybe"),
        ("BOOL", 2),
        ("BOOL", None),
        *[("BOOL", cell) for cell in (0.5, 2.0, float("inf"), "0.5", "1.01", "yes.0", ".0", "01.0", "-1.0", "1.0.0")],
        ("VARCHAR", "x" * 21),
        ("VARCHAR", "ü" * 11),
    ],
)
def test_a_cell_of_the_wrong_type_is_bad_metadata(tmp_path, kind, cell):
    skipped = one_value(tmp_path, kind, cell)
    assert isinstance(skipped, Skipped)
    assert skipped.reason is Reason.BAD_METADATA
    assert skipped.detail.startswith("value is ")


def test_bad_metadata_names_the_field_the_value_and_what_is_allowed(tmp_path):
    (skipped,) = everything(written(tmp_path, "product_id,image,price\n1,a.jpg,from 12.50\n"))
    assert skipped.detail == ("price is 'from 12.50'; a number such as 1299.50, or an amount such as 1.299,50 €")
    long = one_value(tmp_path, "VARCHAR", "x" * 5000)
    assert len(long.detail) < 150
    assert "at most 20 bytes" in long.detail


def test_a_default_of_a_float_is_rounded_like_its_cells(tmp_path):
    assert one_value(tmp_path, "FLOAT", None, 0.1) == one_value(tmp_path, "FLOAT", "0.1")


@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_lines_are_counted_as_an_editor_shows_them(tmp_path, newline):
    text = 'product_id,image,title\n\na,a.jpg,"two\nlines"\n   \nb,b.jpg,one\nc,,x\n'.replace("\n", newline)
    assert [item.line for item in everything(written(tmp_path, text))] == [3, 6, 7]


def test_a_byte_order_mark_is_not_part_of_the_first_column(tmp_path):
    for name, text in (
        ("p.csv", "product_id,image\n1,a\n"),
        ("p.jsonl", '{"product_id": "1", "image": "a"}\n'),
    ):
        (product,) = everything(written(tmp_path, b"\xef\xbb\xbf" + text.encode(), name))
        assert product.product_id == "1"


def test_gzipped_text_is_read_and_truncated_text_is_an_error(tmp_path):
    content = "product_id,image\n" + "".join(f"{n},{n}.jpg\n" for n in range(5000))
    whole = gzip.compress(content.encode())
    path = written(tmp_path, whole, "p.csv.gz")
    assert len(everything(path)) == 5000
    assert reader.estimate(path) is None
    assert "cannot be read" in complaint(written(tmp_path, whole[:-2000], "torn.csv.gz"))


@pytest.mark.parametrize(
    ("name", "content", "word"),
    [
        ("p.doc", "product_id,image\n", "unknown ending"),
        ("p.csv", "", "is empty"),
        ("p.csv", "\n \n", "is empty"),
        ("p.csv", "product_id,image\n\n", "has no products"),
        ("p.jsonl", "\n", "is empty"),
        ("p.jsonl", "[\n", "line 1: not JSON"),
        (
            "p.csv",
            "sku,image\n1,a\n",
            "no column 'product_id'; the columns are 'sku', 'image'; choose one with --id-column NAME",
        ),
        ("p.csv", "product_id,img\n1,a\n", "--image-column NAME"),
        ("p.jsonl", '{"product_id": "1", "url": "u"}\n', "the columns are 'product_id', 'url'"),
        ("p.csv", "product_id,image,size,size\n1,a,b,c\n", "two columns are called 'size'"),
        ("p.csv", 'product_id,"image\n1,a\n', "line 1: a quoted cell is not closed"),
        (
            "p.csv",
            b"product_id,image\n1,\xc3\xbc.jpg\n2,\xff.jpg\n3,\xc3\xa9.jpg\n",
            "line 3: byte 28 of the file is not UTF-8",
        ),
        ("p.csv", b"product_id,image\n1,cr\xe8me.jpg\n", "pass --encoding windows-1250 or --encoding windows-1252"),
        ("p.jsonl", b'{"product_id": "1", "image": "caf\xe9.jpg"}', "line 1: byte 33 of the file is not UTF-8"),
        ("p.parquet", "PAR1 not really PAR1", "cannot be read as Parquet"),
        ("p.parquet", "", "cannot be read as Parquet"),
    ],
)
def test_a_bad_file_is_one_line_that_says_what_to_do(tmp_path, name, content, word):
    assert word in complaint(written(tmp_path, content, name))


def test_a_missing_file_and_an_empty_folder_are_errors_at_once(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    for name, word in (("none.csv", "no such file"), ("folder.csv", "has no files")):
        with pytest.raises(CatalogError, match=word):
            reader.read_catalog(tmp_path / name, SHIPPED, Columns())


def test_rows_before_a_byte_that_is_not_utf8_are_yielded_first(tmp_path):
    for name, good in (("p.csv", "1,grün\n2,rød\n".encode()), ("p.jsonl", b'{"product_id": "1", "image": "a"}\n')):
        head = b"product_id,image\n" if name == "p.csv" else b""
        items = reader.read_catalog(written(tmp_path, head + good + b"\xff\n", name), SHIPPED, Columns())
        assert [next(items).product_id for _ in range(good.count(b"\n"))] == ["1", "2"][: good.count(b"\n")]
        with pytest.raises(CatalogError, match=f"byte {len(head + good)} of the file is not UTF-8"):
            next(items)


def table_of(**columns) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.table({"product_id": [f"p{n}" for n in range(count)], "image": ["a.jpg"] * count, **columns})


def test_estimates_count_products_and_not_headers(tmp_path):
    parquet.write_table(table_of(n=list(range(5))), tmp_path / "p.parquet")
    assert reader.estimate(tmp_path / "p.parquet") == 5
    assert reader.estimate(written(tmp_path, "product_id,image\n1,a\n2,b")) == 2
    assert reader.estimate(written(tmp_path, "{}\n{}\n", "p.jsonl")) == 2
    assert reader.estimate(written(tmp_path, "")) == 0
    assert reader.estimate(written(tmp_path, "broken", "q.parquet")) is None
    assert reader.estimate(tmp_path / "none.csv") is None
    assert reader.estimate(written(tmp_path, "what", "p.xlsx")) is None


@pytest.mark.parametrize("name", ["p.csv", "p.jsonl", "p.parquet"])
def test_memory_does_not_grow_with_the_file(tmp_path, name):
    path, count, text = tmp_path / name, 8_000, "x" * 2_000  # 16 MB
    if name == "p.parquet":
        parquet.write_table(table_of(text=[text] * count), path, row_group_size=1_000)
    else:
        with path.open("w") as file:
            file.write("product_id,image,text\n" if name == "p.csv" else "")
            for number in range(count):
                row = {"product_id": f"p{number}", "image": "a.jpg", "text": text}
                file.write((",".join(row.values()) if name == "p.csv" else json.dumps(row)) + "\n")
    products = reader.read_catalog(path, PLAIN, Columns())
    next(products)
    tracemalloc.start()
    try:
        assert sum(1 for _ in products) == count - 1
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6_000_000


def test_a_parquet_file_of_one_row_group_is_not_held_in_memory(tmp_path):
    texts = [random.randbytes(1_000).hex() for _ in range(8_000)]  # 16 MB that do not compress
    parquet.write_table(table_of(text=texts), tmp_path / "p.parquet", compression="none", use_dictionary=False)
    del texts
    products, before = reader.read_catalog(tmp_path / "p.parquet", PLAIN, Columns()), pa.total_allocated_bytes()
    peak = max(pa.total_allocated_bytes() - before for _ in products)
    assert peak < 10_000_000


unicode_text = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
names = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
readable = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20).filter(str.strip)


@settings(deadline=None, max_examples=150)
@given(
    table=st.lists(st.tuples(unicode_text, unicode_text), min_size=1, max_size=8),
    bom=st.booleans(),
    newline=st.sampled_from(["\n", "\r\n"]),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    tab=st.booleans(),
)
def test_any_table_that_csv_writes_is_read_back_exactly(table, bom, newline, quoting, tab):
    # Where lines end in LF, csv.writer puts no quotes around a CR, and no reader can tell it from an end.
    assume(newline == "\r\n" or quoting == csv.QUOTE_ALL or not any("\r" in one + two for one, two in table))
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter="\t" if tab else ",", lineterminator=newline, quoting=quoting)
    writer.writerow(["one", "product_id", "two", "image"])
    starts = []
    for number, (one, two) in enumerate(table):
        # Universal newlines count as an editor does: CR LF is one end of a line, a lone CR is one, too.
        starts.append(len(io.StringIO(buffer.getvalue(), newline=None).readlines()) + 1)
        writer.writerow([one, f"{number:05d}", two, f" {number}.jpg\t"])
    with tempfile.TemporaryDirectory() as folder:
        content = (b"\xef\xbb\xbf" if bom else b"") + buffer.getvalue().encode()
        items = everything(written(Path(folder), content, "t.tsv" if tab else "t.csv"), PLAIN)
    assert [item.product_id for item in items] == [f"{number:05d}" for number in range(len(table))]
    assert [item.line for item in items] == starts
    for number, ((one, two), item) in enumerate(zip(table, items, strict=True)):
        cells = {"one": one, "two": two, "image": f"{number}.jpg"}
        assert item.metadata == {name: cell for name, cell in cells.items() if cell.strip()}


@settings(deadline=None, max_examples=60)
@given(
    table=st.lists(
        st.tuples(st.from_regex(r"[0-9]{1,8}", fullmatch=True), readable, unicode_text),
        min_size=1,
        max_size=8,
    )
)
def test_all_formats_of_the_same_rows_give_the_same_products(table):
    header = ("product_id", "image", "title")
    records = [dict(zip(header, row, strict=True)) for row in table]
    seen = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for ending, delimiter in (("csv", ","), ("tsv", "\t")):
            with (folder / f"p.{ending}").open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file, delimiter=delimiter)
                writer.writerows([header, *table])
        (folder / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in records))
        parquet.write_table(pa.Table.from_pylist(records), folder / "p.parquet")
        for path in folder.iterdir():
            seen[path.suffix] = [
                (item.product_id, item.image, item.metadata | {"price": 0})
                if isinstance(item, Product)
                else (item.product_id, item.reason)
                for item in everything(path)
            ]
    assert len(seen) == 4
    assert all(products == seen[".csv"] for products in seen.values())
    ids = [row[0] for row in table]
    assert [item[0] for item in seen[".csv"]] == ids
    duplicates = [item for item in seen[".csv"] if item[1] is Reason.DUPLICATE_ID]
    assert len(duplicates) == len(ids) - len(set(ids))


@settings(deadline=None, max_examples=200)
@given(
    content=st.one_of(
        st.binary(max_size=300),
        st.binary(max_size=200).map(lambda tail: b"product_id,image\n" + tail),
        st.binary(max_size=200).map(lambda tail: b'{"product_id":"1","image":"a"}\n{"product_id":' + tail),
        st.binary(max_size=200).map(lambda middle: b"PAR1" + middle + b"PAR1"),
    ),
    ending=st.sampled_from([".csv", ".tsv", ".jsonl", ".parquet", ".csv.gz"]),
)
def test_random_bytes_raise_nothing_but_a_catalog_error(content, ending):
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), content, f"p{ending}")
        try:
            items = everything(path)
        except CatalogError as error:
            assert len(str(error).splitlines()) == 1  # noqa: PT017  not raising is fine, too
        else:
            assert items
        reader.estimate(path)


@settings(deadline=None, max_examples=100)
@given(place=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_damaged_parquet_file_raises_nothing_but_a_catalog_error(tmp_path_factory, place, byte):
    folder = tmp_path_factory.mktemp("damaged")
    parquet.write_table(table_of(title=["a", "b"], price=[1.5, None]), folder / "p.parquet")
    content = bytearray((folder / "p.parquet").read_bytes())
    content[place % len(content)] = byte
    (folder / "p.parquet").write_bytes(content)
    try:
        everything(folder / "p.parquet")
    except CatalogError as error:
        assert len(str(error).splitlines()) == 1  # noqa: PT017  not raising is fine, too
