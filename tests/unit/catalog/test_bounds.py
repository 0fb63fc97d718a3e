"""A small file that stands for a lot of data does not fill the memory: a row that is too long is skipped and named."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from ingest.catalog import arrow, reader
from ingest.catalog.arrow_sizes import cell_sizes
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.rows import MAX_ROW, Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError
from ingest.core.records import Product, Reason, Skipped

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = contract_file.load(contract_file.default_path())
LONG = b"x" * (40 << 20)


def read(path: Path) -> list[Product | Skipped]:
    return list(reader.read_catalog(path, SHIPPED, Columns(), recorder=CatalogRecorder()))


def table(**columns) -> pa.Table:
    count = len(next(iter(columns.values())))
    return pa.table({"product_id": [f"p{at}" for at in range(count)], "image": ["a.jpg"] * count, **columns})


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        ("p.csv", b"product_id,image,t\na,a.jpg,x\nb,b.jpg,", b"\nc,c.jpg,x\n"),
        ("p.csv", b'product_id,image,t\na,a.jpg,x\nb,b.jpg,"', b'"\nc,c.jpg,x\n'),
        ("p.csv.gz", b"product_id,image,t\na,a.jpg,x\nb,b.jpg,", b"\nc,c.jpg,x\n"),
        ("p.jsonl", b'{"product_id":"a","image":"a"}\n{"t":"', b'"}\n{"product_id":"c","image":"c"}\n'),
    ],
    ids=["cell", "quoted cell", "gzip bomb", "json"],
)
def test_a_line_of_40_mb_is_one_skipped_row(tmp_path, name, before, after):
    content = before + LONG + after
    (tmp_path / name).write_bytes(gzip.compress(content, 1) if name.endswith(".gz") else content)
    del content
    tracemalloc.start()
    try:
        first, skipped, last = read(tmp_path / name)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (first.product_id, last.product_id) == ("a", "c")
    assert (skipped.reason, skipped.detail, skipped.is_torn) == (Reason.BAD_ROW, "the row is longer than 16 MiB", True)
    assert (skipped.line, last.line) == ((3, 4) if "csv" in name else (2, 3))
    assert peak < 3.5 * MAX_ROW


def test_a_row_of_many_lines_that_is_too_long_does_not_take_the_rows_after_it(tmp_path):
    lines = (b"x" * (1 << 20) + b"\n") * 20
    (tmp_path / "p.csv").write_bytes(b'product_id,image,t\na,a.jpg,"' + lines + b'"\nc,c.jpg,x\n')
    items = read(tmp_path / "p.csv")
    assert (items[0].product_id, items[0].reason) == ("a", Reason.BAD_ROW)
    assert items[-1].product_id == "c"


def test_json_of_very_many_values_is_skipped(tmp_path):
    row = b'{"product_id":"a","image":"a.jpg","t":[' + b"[]," * 1_000_001 + b"[]]}\n"
    (tmp_path / "p.jsonl").write_bytes(b'{"product_id":"b","image":"b.jpg"}\n' + row)
    product, skipped = read(tmp_path / "p.jsonl")
    assert isinstance(product, Product)
    assert "more than 1,000,000 values" in skipped.detail


TEXT = "x" * 2_000_000


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (lambda: pa.array([TEXT] * 300), {"compression": "zstd"}),
        (lambda: pa.array([TEXT] * 300), {"use_dictionary": False, "column_encoding": "DELTA_BYTE_ARRAY"}),
        (lambda: pa.array([[TEXT]] * 300), {"compression": "zstd"}),
        (lambda: pa.array([[TEXT] * 300, ["y"]]), {"compression": "zstd"}),
    ],
    ids=["one text in every row", "each row repeats the last", "lists", "one list"],
)
def test_a_parquet_file_of_a_few_kilobytes_takes_little_memory_and_time(tmp_path, column, options):
    path = tmp_path / "p.parquet"
    written = column()
    rows = len(written)
    parquet.write_table(table(t=written), path, **options)
    del written
    assert path.stat().st_size < 500_000
    before, began, peak, count = pa.total_allocated_bytes(), time.process_time(), 0, 0
    for item in reader.read_catalog(path, SHIPPED, Columns()):
        count += 1
        peak = max(peak, pa.total_allocated_bytes() - before)
        assert item.product_id.startswith("p")
    assert count == rows
    assert peak < 150_000_000  # 600 MB at least, if all of it were decoded
    assert time.process_time() - began < 30


@pytest.mark.parametrize(
    ("column", "word"),
    [
        (lambda: ["x" * (100 << 20), "y"], "has 100 MiB in"),
        (lambda: [[1] * 6_000_000, [2]], "has 5,999,999 values in"),
    ],
)
def test_a_cell_that_would_fill_the_memory_is_an_error_of_the_file(tmp_path, column, word):
    parquet.write_table(table(t=column()), tmp_path / "p.parquet", compression="zstd")
    with pytest.raises(CatalogError, match=word):
        read(tmp_path / "p.parquet")


def test_a_parquet_row_that_is_too_long_is_skipped_with_its_id(tmp_path):
    parquet.write_table(table(t=["a", "x" * (MAX_ROW + 1), "c"]), tmp_path / "p.parquet", compression="none")
    first, skipped, last = read(tmp_path / "p.parquet")
    assert (first.product_id, last.product_id) == ("p0", "p2")
    assert (skipped.product_id, skipped.line, skipped.detail) == ("p1", 2, "the row is longer than 16 MiB")


cells = st.one_of(st.none(), st.text(max_size=9))
kinds = {
    "string": (pa.string(), cells),
    "dictionary": (pa.dictionary(pa.int32(), pa.string()), cells),
    "binary": (pa.binary(), st.one_of(st.none(), st.binary(max_size=9))),
    "list": (pa.list_(pa.string()), st.one_of(st.none(), st.lists(cells, max_size=3))),
    "struct": (pa.struct([("a", pa.string())]), st.one_of(st.none(), st.fixed_dictionaries({"a": cells}))),
    "map": (pa.map_(pa.string(), pa.string()), st.lists(st.tuples(st.text(max_size=3), cells), max_size=2)),
}


def size(value) -> int:
    """Return the bytes of text in a value, and 8 for each element of a list."""
    if isinstance(value, dict):
        return sum(map(size, value.values()))
    if isinstance(value, list):
        return sum(8 + size(element) for element in value)
    if isinstance(value, tuple):
        return sum(map(size, value))
    return 0 if value is None else len(value if isinstance(value, bytes) else value.encode())


@given(data=st.data(), kind=st.sampled_from(sorted(kinds)))
def test_the_size_of_a_cell_is_that_of_its_content(data, kind):
    arrow_type, strategy = kinds[kind]
    values = data.draw(st.lists(strategy, max_size=6))
    start = data.draw(st.integers(0, len(values)))
    column = pa.array(values, arrow_type).slice(start)
    assert np.array_equal(cell_sizes(column), [size(value) for value in values[start:]])
    if kind == "dictionary":
        assert arrow.values(column) == values[start:]
