"""A block of rows validated column by column: each row becomes what it would be alone."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.catalog import casting, reader
from ingest.catalog.duplicates import FirstLines
from ingest.catalog.rows import Columns, RowBlock
from ingest.catalog.validation import row_rules, validate
from ingest.core import contract_file
from ingest.core.field import Field

TYPES = ("VARCHAR", "INT64", "FLOAT", "DOUBLE", "BOOL")
SHIPPED = contract_file.load(contract_file.default_path())
TYPED = replace(
    SHIPPED,
    id_max_length=12,
    fields=(
        *(Field(kind.lower(), kind, kind.lower(), 8 if kind == "VARCHAR" else 0, None) for kind in TYPES),
        Field("title", "VARCHAR", "title", 1024, ""),
        Field("image", "VARCHAR", "image", 4096, ""),
    ),
)

numbers = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["1.", ".5", "1e5", "1e999", "-1E-3", "+2", " 3 ", "1_000", "٣", "nan", "inf", ".", "e", "1,5", ""]
    ),
)
texts = st.one_of(st.text(max_size=9), st.sampled_from(["", " ", "\u00a0", "a\u200bb", "a\tb", "\x00", "é" * 5]))
odd = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.decimals(allow_nan=False), st.binary(max_size=4),
    st.just(dt.date(2024, 5, 1)), st.lists(st.integers(), max_size=2), st.just(Decimal(12)), st.just("x" * 20_000),
)  # fmt: skip
ordinary = {"product_id": st.sampled_from("abc"), "image": st.just("a.jpg"), "bool": st.sampled_from(["yes", "0"])}
ordinary |= dict.fromkeys(("int64", "float", "double"), st.integers(0, 999).map(str))
MISSING = replace(TYPED, fields=(Field("double", "DOUBLE", "double", 0, math.nan, missing=7.0),))


@st.composite
def blocks(draw):
    """Columns of ordinary values, of numbers, of texts, or of anything at all."""
    count = draw(st.integers(1, 5))
    columns = {}
    for name in ("product_id", "image", "varchar", "int64", "float", "double", "bool", "title", "size", "row_digest"):
        kind = draw(st.sampled_from([ordinary.get(name, st.just("red")), numbers, texts, st.one_of(texts, odd)]))
        columns[name] = draw(st.lists(kind, min_size=count, max_size=count))
    if draw(st.booleans()):
        del columns[draw(st.sampled_from(sorted(columns)))]
    faults = draw(st.dictionaries(st.integers(0, count - 1), st.just("too many cells"), max_size=2))
    return RowBlock(sorted(draw(st.sets(st.integers(1, 50), min_size=count, max_size=count))), columns, faults)


def one_by_one(block, rules, seen):
    judged = []
    for at in range(len(block.lines)):
        row = block.row(at)
        item = validate(row, rules, "p.csv")
        if item.product_id and len(item.product_id.encode()) <= rules.id_max_length:
            first = seen.setdefault(item.product_id, row.line)
            item = validate(row, rules, "p.csv", f"line {first}" if first != row.line else "")
        judged.append(item)
    return judged


@given(blocks(), st.sampled_from([TYPED, SHIPPED, MISSING, replace(TYPED, keeps_others=False)]))
def test_a_block_is_validated_as_its_rows_are_one_by_one(block, contract):
    rules, seen = row_rules(contract, Columns()), FirstLines()
    seen.begin("p.csv", 0)
    validated = [repr(item) for item in reader._validate_block(block, rules, seen)]  # NaN is not equal to itself
    assert validated == [repr(item) for item in one_by_one(block, rules, {})]


@given(st.lists(numbers, min_size=1, max_size=4))
def test_numbers_converted_at_once_are_those_converted_one_by_one(column):
    convert = casting.converter(Field("price", "DOUBLE", "price", 0, None))
    found = casting.doubles(column)
    assert found is None or found == list(map(convert, column))


@pytest.mark.parametrize("cells_", [["7", "8", ""], ["7", "8", None], ["7.0", "8", " "]])
def test_the_number_that_stands_for_a_missing_one_is_read_as_missing(cells_):
    block = RowBlock([2, 3, 4], {"product_id": list("abc"), "image": ["a.jpg"] * 3, "double": cells_}, {})
    seen = FirstLines()
    seen.begin("p.csv", 0)
    found = [item.metadata["double"] for item in reader._validate_block(block, row_rules(MISSING, Columns()), seen)]
    assert [None if math.isnan(value) else value for value in found] == [None, 8.0, None]
