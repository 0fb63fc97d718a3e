"""Damaged CSV: the damaged line is skipped and reported, and the rows around it are read."""

from __future__ import annotations

import csv
import io
import time
import tracemalloc
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.catalog import reader
from ingest.catalog.csv_parser import Syntax, records
from ingest.catalog.options import ReadOptions
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.errors import CatalogError
from ingest.core.records import Product, Reason

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = contract_file.load(contract_file.default_path())
HEADER = "product_id,image,title,price\n"


def found(text: str, delimiter: str = ","):
    return list(records(io.StringIO(text, newline=""), Syntax(delimiter)))


def read(folder: Path, text: str):
    path = folder / "p.csv"
    path.write_text(text, encoding="utf-8", newline="")
    return list(reader.read_catalog(path, SHIPPED, Columns(options=ReadOptions(quotes="doubled"))))


def told(items) -> list[tuple[int, str, str]]:
    """Return each row's line, its id, and its title or why it was skipped."""
    return [
        (item.line, item.product_id, item.metadata["title"] if isinstance(item, Product) else item.reason.value)
        for item in items
    ]


@pytest.mark.parametrize(
    ("damaged", "product_id", "word"),
    [
        ('2,b.jpg,"Plate "blue" 12cm",6', "2", "not doubled"),
        (r'2,b.jpg,"Plate 12\" blue",6', "2", "pass --quotes backslash"),
        (r'2,b.jpg,"Plate 12\"",6', "2", "not closed"),
        (r'2,b.jpg,"Plate 12\", blue",6', "2", "5 cells under a header of 4"),
        ('2,b.jpg,"Plate,6', "2", "not closed"),
        ('"2,b.jpg,Plate,6', "", "not closed"),
        ('2,b.jpg,Plate,"', "2", "not closed"),
    ],
)
@pytest.mark.parametrize("after", ["", '8,h.jpg,"quoted, title",8\n', '8,h.jpg,"two\nlines",8\n', '8,h.jpg,"",8\n'])
def test_a_damaged_line_is_skipped_alone(tmp_path, damaged, product_id, word, after):
    around = [f"{number},{number}.jpg,T{number},5" for number in range(10, 16)]
    text = HEADER + "\n".join([*around[:3], damaged, *around[3:]]) + "\n" + after
    items = read(tmp_path, text)
    skipped = [item for item in items if not isinstance(item, Product)]
    assert [(item.line, item.product_id, item.reason) for item in skipped] == [(5, product_id, Reason.BAD_ROW)]
    assert word in skipped[0].detail
    good = [item.product_id for item in items if isinstance(item, Product)]
    assert good == [str(number) for number in range(10, 16)] + ["8"] * bool(after)


def test_rows_swallowed_by_an_open_quote_are_read_again(tmp_path):
    text = HEADER + '1,a.jpg,"open,5\n2,b.jpg,B,5\n3,c.jpg,C,5\n4,d.jpg,stray",more,5\n5,e.jpg,E,5\n'
    assert told(read(tmp_path, text)) == [
        (2, "1", "bad row"),
        (3, "2", "B"),
        (4, "3", "C"),
        (5, "4", "bad row"),
        (6, "5", "E"),
    ]


def test_a_row_of_several_lines_with_an_extra_cell_is_one_bad_row(tmp_path):
    text = HEADER + '1,a.jpg,"a plate\nfor bread, and\n\nfor cheese",5,extra\n2,b.jpg,B,5\n'
    assert told(read(tmp_path, text)) == [(2, "1", "bad row"), (6, "2", "B")]


def test_a_row_without_its_last_cells_may_span_several_lines(tmp_path):
    text = HEADER + '1,a.jpg,"a plate\nfor bread, and cheese"\n2,b.jpg,B,5\n'
    assert told(read(tmp_path, text)) == [(2, "1", "a plate\nfor bread, and cheese"), (4, "2", "B")]


@pytest.mark.parametrize("extra", [",", ",,,", " , ,"])
def test_empty_cells_beyond_the_header_are_ignored(tmp_path, extra):
    plain = read(tmp_path, HEADER + "1,a.jpg,A,5\n2,b.jpg,B,6\n")
    assert read(tmp_path, HEADER + f"1,a.jpg,A,5{extra}\n2,b.jpg,B,6{extra}\n") == plain


@pytest.mark.parametrize("again", [HEADER, "\ufeff" + HEADER, '"product_id","image","title","price"\n', HEADER.upper()])
def test_a_header_repeated_in_a_concatenated_file_is_not_a_row(tmp_path, again):
    items = read(tmp_path, f"{HEADER}1,a.jpg,A,5\n{again}2,b.jpg,B,6\n")
    expected = [(2, "1", "A"), (4, "2", "B")]
    if again == HEADER.upper():  # other names: a row like any other
        expected.insert(1, (3, "PRODUCT_ID", "bad metadata"))
    assert told(items) == expected


def test_a_damaged_header_is_an_error_of_the_file(tmp_path):
    with pytest.raises(CatalogError, match='line 1: a " inside a quoted cell is not doubled'):
        read(tmp_path, '"product_id"x,image\n1,a.jpg\n')


def test_a_quote_that_is_never_closed_does_not_fill_the_memory():
    lines = ["product_id,image\n", '1,"a\n', *["x" * 1023 + ",y\n"] * 18_000]
    tracemalloc.start()
    try:
        items = list(records(lines, Syntax(",")))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [item.line for item in items if item.fault] == [2]
    assert len(items) == 18_002
    assert peak < 100_000_000


def test_reading_lines_again_takes_linear_time():
    # Each line closes the quote of the one before and opens its own, so that a record from any line ends with the file.
    lines = [HEADER, *['x",y,"z\n'] * 20_000]
    began = time.process_time()
    items = list(records(lines, Syntax(",")))
    assert time.process_time() - began < 10  # seconds; 20,000 × 20,000 lines would take minutes
    assert len(items) == 20_001


plain = st.text(st.characters(codec="utf-8", exclude_characters='",\r\n', exclude_categories=["Cs"]), max_size=6)
wild = st.text(st.sampled_from('a,"\n é'), max_size=8)


@st.composite
def tables(draw):
    """Rows as wide as their header, with an id and an image, and any text in the other cells."""
    count = draw(st.integers(3, 7))
    return [[f"P{number}", f"{number}.jpg", draw(st.one_of(plain, wild)), draw(plain)] for number in range(count)]


def written(table, **options) -> str:
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n", **options).writerows(table)
    return buffer.getvalue()


@settings(deadline=None, max_examples=150)
@given(tables(), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from([",", "\t", ";"]))
def test_well_formed_csv_is_read_as_csv_reads_it(table, quoting, delimiter):
    text = HEADER.replace(",", delimiter) + written(table, quoting=quoting, delimiter=delimiter)
    assert [record.cells for record in found(text, delimiter)[1:]] == table
    assert not any(record.fault for record in found(text, delimiter))


@settings(deadline=None, max_examples=150)
@given(tables(), st.data())
def test_an_extra_or_a_missing_quote_affects_only_rows_near_it(table, data):
    table = [[cell.replace("\n", " ") for cell in row] for row in table]  # each row is a line
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    lines = [written([row], quoting=quoting) for row in table]
    at = data.draw(st.integers(0, len(lines) - 1))
    place = data.draw(st.integers(0, len(lines[at]) - 1))
    if lines[at][place] == '"':
        lines[at] = lines[at][:place] + lines[at][place + 1 :]
    else:
        lines[at] = lines[at][:place] + '"' + lines[at][place:]
    records_ = [record for record in found(HEADER + "".join(lines))[1:] if not record.fault]
    good = {record.line - 2: record.cells for record in records_}
    for number, row in enumerate(table):
        # A quote that opens before a cell that is empty and quoted takes that as a quote of its own.
        if number < at or number > at + 1:
            assert good.get(number) == row


@settings(deadline=None, max_examples=150)
@given(st.text(st.sampled_from('a,"\n\\'), max_size=60))
def test_every_line_is_read_or_reported(text):
    lines = io.StringIO(HEADER + text, newline="").readlines()
    items = found(HEADER + text)
    starts = [item.line for item in items]
    assert starts == sorted(set(starts))
    ends = [item.line if item.fault else item.line + sum(cell.count("\n") for cell in item.cells) for item in items]
    inside = {number for start, end in zip(starts, ends, strict=True) for number in range(start, end + 1)}
    for number, line in enumerate(lines[1:], 2):
        assert number in inside or not line.strip(' "\n') or line in HEADER
