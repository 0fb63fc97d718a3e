"""A catalog that is cut off anywhere: its last row is not used, or it ends exactly after a row."""

from __future__ import annotations

import gzip
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.catalog_parts import written

from ingest.catalog import reader
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError
from ingest.core.records import Product, Reason, Skipped

if TYPE_CHECKING:
    from ingest.catalog.profile import CatalogProfile

SHIPPED = contract_file.load(contract_file.default_path())
SOAK = bool(os.environ.get("INGEST_SOAK"))
"""Whether a file is cut at every position, not at each ninth and the last forty."""
TABLE = [(f"P{number:02d}", f"images/{number}.jpg", f"Title {number}, é") for number in range(18)]


def read(catalog: Path, last: CatalogProfile | None = None) -> tuple[list[Product | Skipped], CatalogRecorder]:
    recorder = CatalogRecorder(last)
    return list(reader.read_catalog(catalog, SHIPPED, Columns(), recorder=recorder)), recorder


def profile(catalog: Path) -> CatalogProfile:
    made = read(catalog)[1].profile
    assert made is not None
    return made


@pytest.mark.parametrize("kind", [".csv", ".tsv", ".jsonl"])
@pytest.mark.parametrize("part", [False, True], ids=["alone", "in the middle of parts"])
def test_a_file_cut_anywhere_is_noticed_or_ends_after_a_row(tmp_path, kind, part):
    whole = written(kind, TABLE)
    path = tmp_path / f"b{kind}"
    if part:
        (tmp_path / f"a{kind}").write_bytes(written(kind, [("A1", "a.jpg", "A")]))
        (tmp_path / f"c{kind}").write_bytes(written(kind, [("C1", "c.jpg", "C")]))
    path.write_bytes(whole)
    catalog = tmp_path if part else path
    last, products = profile(catalog), {item.product_id: item for item in read(catalog)[0]}
    noticed = 0
    positions = [end for end in range(len(whole)) if SOAK or end % 9 == 0 or end > len(whole) - 40]
    for end in positions:
        path.write_bytes(whole[:end])
        try:
            items, recorder = read(catalog, last)
        except CatalogError:  # not UTF-8, no header, no rows
            noticed += 1
            continue
        good = {item.product_id: item for item in items if isinstance(item, Product)}
        assert all(products[name] == item for name, item in good.items()), f"cut at {end}: a cut row was used"
        if recorder.cut.count or any(isinstance(item, Skipped) for item in items):
            noticed += 1
        else:
            assert whole[:end].endswith((b"\n", b"\r")), f"cut at {end}, within a row, and not noticed"
    assert noticed >= len(positions) - 2 * (len(TABLE) + 1)


def test_a_cut_row_is_named_with_its_file_and_line(tmp_path):
    (tmp_path / "a.csv").write_text("product_id,image,title\n1,a.jpg,A\n", encoding="utf-8")
    last = profile(tmp_path)
    (tmp_path / "b.csv").write_text("product_id,image,title\n2,b.jpg,B\n3,c.jpg,Lon", encoding="utf-8")
    items, recorder = read(tmp_path, last)
    (skipped,) = [item for item in items if isinstance(item, Skipped)]
    assert (skipped.product_id, skipped.file, skipped.line, skipped.is_torn) == ("3", "b.csv", 3, True)
    assert skipped.reason is Reason.BAD_ROW
    assert "the file ends in this row" in skipped.detail
    assert str(recorder.cut) == "line 3 of b.csv"


def test_a_last_line_without_a_line_end_is_used_if_it_never_had_one(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("product_id,image,title\n1,a.jpg,A\n2,b.jpg,B", encoding="utf-8")
    for last in (None, profile(path)):
        items, recorder = read(path, last)
        assert [type(item) for item in items] == [Product, Product]
        assert recorder.cut.count == 0


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_last_row_with_fewer_cells_than_the_header_is_not_used(tmp_path, end):
    path = tmp_path / "p.csv"
    path.write_text(f"product_id,image,title\n1,a.jpg,A\n2,b.jpg{end}", encoding="utf-8")
    items, recorder = read(path)
    assert isinstance(items[1], Skipped)
    assert recorder.cut.count == 1


def test_short_rows_are_counted_and_normal_once_they_were_accepted(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("product_id,image,title\n1,a.jpg\n2,b.jpg,B\n3,c.jpg\n", encoding="utf-8")
    _, recorder = read(path)
    assert (recorder.short.count, str(recorder.short), recorder.has_new_short_rows) == (1, "line 2 of p.csv", True)
    accepting = CatalogRecorder(accepts=True)
    items = list(reader.read_catalog(path, SHIPPED, Columns(), recorder=accepting))
    assert [type(item) for item in items] == [Product] * 3
    items, recorder = read(path, accepting.profile)
    assert [type(item) for item in items] == [Product] * 3
    assert not recorder.has_new_short_rows


ZIPPED = gzip.compress(b"", mtime=0)


@pytest.mark.parametrize(
    ("kind", "content"),
    [(".csv", b""), (".csv.gz", b""), (".csv.gz", ZIPPED), (".jsonl", b""), (".jsonl.gz", b""), (".jsonl.gz", ZIPPED),
     (".parquet", b"")],
)  # fmt: skip
def test_a_part_of_0_bytes_is_an_error(tmp_path, kind, content):
    (tmp_path / f"a{kind}").write_bytes(written(kind, TABLE))
    (tmp_path / f"b{kind}").write_bytes(content)
    with pytest.raises(CatalogError, match=rf"b{kind}: .*is empty"):
        read(tmp_path)


@settings(deadline=None, max_examples=60)
@given(data=st.data(), kind=st.sampled_from([".csv.gz", ".jsonl.gz", ".parquet"]))
def test_a_compressed_file_that_is_cut_says_so(data, kind):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"p{kind}"
        whole = written(kind, TABLE)
        path.write_bytes(whole[: data.draw(st.integers(1, len(whole) - 1))])
        with pytest.raises(CatalogError, match="cut off"):
            read(path)


def test_the_profile_of_each_format(tmp_path):
    for kind, dialect, encoding in ((".csv", "CSV, CR LF", "UTF-8"), (".jsonl", "JSON Lines, LF", "UTF-8"),
                                    (".tsv", "TSV, CR LF", "UTF-8"), (".parquet", "Parquet", "")):  # fmt: skip
        path = tmp_path / f"p{kind}"
        path.write_bytes(written(kind, TABLE))
        made = profile(path)
        assert (made.dialect, made.encoding, made.rows, made.id_column) == (dialect, encoding, 18, "product_id")
        assert made.columns == ("product_id", "image", "title")
        assert made.final_newline is (kind != ".parquet")


def test_a_column_that_few_json_rows_have_is_not_one_of_the_catalogs_columns(tmp_path):
    rows = [
        {"product_id": str(number), "image": "a.jpg", **({"rare": 1} if number == 3 else {})} for number in range(30)
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    made = profile(tmp_path / "p.jsonl")
    assert (made.columns, made.rare) == (("product_id", "image"), {"rare"})


def swallowing(rows: int) -> str:
    """A catalog in which two stray quotes make one row of many."""
    lines = [f"{number},{number}.jpg,Title {number},5" for number in range(100)]
    lines[20] = '20,20.jpg,"Title 20,5'
    lines[20 + rows] = f'{20 + rows},x.jpg,Title",5'
    return "product_id,image,title,price\n" + "\n".join(lines) + "\n"


@pytest.mark.parametrize("price", ["5", "not a number"])
def test_two_stray_quotes_that_swallow_rows_leave_a_trace(tmp_path, price):
    path = tmp_path / "p.csv"
    path.write_text(swallowing(40).replace('Title",5', f'Title",{price}'), encoding="utf-8")
    items, recorder = read(path)
    assert str(recorder.swallowing) == "lines 22 to 62 of p.csv"
    assert {str(number) for number in range(21, 60)} <= set(recorder.inner)
    if price != "5":
        (skipped,) = [item for item in items if isinstance(item, Skipped)]
        assert skipped.is_torn
        assert "lines 22 to 62, and 40 of them look like rows of their own" in skipped.detail
