"""Numbers that a double keeps, and numbers that it would round: those are kept as text, or skip their row."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.catalog import exact_numbers, reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.field import Field
from ingest.core.records import Product

if TYPE_CHECKING:
    from pathlib import Path

SHIPPED = contract_file.load(contract_file.default_path())


def read(folder: Path, name: str, text: str, *fields: Field) -> Any:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    (item,) = reader.read_catalog(path, replace(SHIPPED, fields=fields), Columns())
    return item.metadata["value"] if isinstance(item, Product) else item.detail


def from_json(folder: Path, number: str, *fields: Field) -> Any:
    return read(folder, "p.jsonl", f'{{"product_id": "1", "image": "a.jpg", "value": {number}}}', *fields)


def field(kind: str) -> Field:
    return Field("value", kind, "value", 60 if kind == "VARCHAR" else 0, None)


@pytest.mark.parametrize(
    ("number", "kept"),
    [
        ("0.1", 0.1),
        ("1.10", 1.1),
        ("5.0", 5.0),
        ("5", 5),
        ("1e12", 1e12),
        ("1e23", 1e23),
        ("0.30000000000000004", 0.30000000000000004),
        ("0.10000000000000001", 0.1),  # as C writes it with %.17g
        ("0.1000000000000000055511151231257827", 0.1),  # as Java writes the double itself
        ("123456789012345678", 123456789012345678),
        ("12345678901234567.8", "12345678901234567.8"),
        ("123456789012345678.0", "123456789012345678.0"),
        ("3.3333333333333333333", "3.3333333333333333333"),
        ("1e400", "1E+400"),
        ("1e-400", "1E-400"),
        ("1e999999999", "1E+999999999"),
    ],
)
def test_a_json_number_outside_the_contract_is_kept_exactly(tmp_path, number, kept):
    found = from_json(tmp_path, number)
    assert (found, type(found)) == (kept, type(kept))


@pytest.mark.parametrize(
    ("kind", "number", "kept"),
    [
        ("DOUBLE", "12.50", 12.5),
        ("DOUBLE", "0.10000000000000001", 0.1),
        ("DOUBLE", "9007199254740992", 9007199254740992.0),
        ("DOUBLE", "9007199254740993", None),
        ("DOUBLE", "12345678901234567.8", None),
        ("DOUBLE", "1e400", None),
        ("DOUBLE", "1e999999999", None),
        ("FLOAT", "0.5", 0.5),
        ("FLOAT", "16777216", 16777216.0),
        ("FLOAT", "16777217", 16777216.0),
        ("FLOAT", "1e10", 1e10),
        ("FLOAT", "123456789.25", 123456792.0),
        ("FLOAT", "123456789012345678", None),
        ("INT64", "1234567890123456789.0", 1234567890123456789),
        ("INT64", "1e3", 1000),
        ("INT64", "1.5", None),
        ("INT64", "1e400", None),
        ("INT64", "1e999999999", None),
        ("VARCHAR", "12345678901234567.80", "12345678901234567.80"),
        ("VARCHAR", "1e999999999", "1E+999999999"),
    ],
)
def test_a_field_has_the_exact_number_or_the_row_is_skipped_in_each_format(tmp_path, kind, number, kept):
    found = from_json(tmp_path, number, field(kind))
    if kept is None:
        assert found.startswith("value is ")
    else:
        assert (found, type(found)) == (kept, type(kept))
    if kind in ("DOUBLE", "FLOAT"):
        told = read(tmp_path, "p.csv", f"product_id,image,value\n1,a.jpg,{number}\n", field(kind))
        assert (told == found) if kept is not None else told.startswith("value is ")


def test_a_number_with_too_many_digits_is_reported_with_what_to_do(tmp_path):
    assert from_json(tmp_path, "1234567890123456.7", field("DOUBLE")) == (
        "value is 1234567890123456.7; "
        "more digits than a DOUBLE keeps (15 to 17); shorten it, or make the field a VARCHAR"
    )


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_double_is_kept_with_any_number_of_digits(number):
    for written in (repr(number), f"{number:.16e}", f"{number:.25e}", str(Decimal(number))):
        assert exact_numbers.from_json(written) == number
        assert isinstance(exact_numbers.from_json(written), float)


@settings(deadline=None)
@given(st.integers(-(10**22), 10**22), st.integers(0, 24))
def test_a_decimal_is_read_back_as_the_same_number(digits, places):
    value = Decimal(f"{digits}e-{places}")
    kept = exact_numbers.plain(value)
    if isinstance(kept, float):
        # Beyond 15 digits a double has another shortest form, and still is the number with as many digits.
        assert Decimal(repr(kept)) == value or Decimal(f"{kept:.{len(str(abs(digits)).rstrip('0')) - 1}e}") == value
    else:
        assert kept == value
        assert places == 0 or len(str(abs(digits)).rstrip("0")) > 15


@settings(deadline=None)
@given(st.integers(-(10**30), 10**30))
def test_whole_numbers_are_kept_up_to_64_bits_and_beyond(number):
    assert exact_numbers.plain(Decimal(number)) == number
    if abs(number) <= 2**53:
        assert exact_numbers.keeps(float(number), number)
    if exact_numbers.keeps(float(number), number):
        assert math.isclose(float(number), number, rel_tol=1e-15)
        assert json.loads(json.dumps(float(number))) == float(number)
