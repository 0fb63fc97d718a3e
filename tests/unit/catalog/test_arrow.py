"""Parquet columns of all types: the exact value of each, and cells that no Python type can hold."""

from __future__ import annotations

import datetime as dt
import os
import subprocess
import sys
import uuid
from dataclasses import replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from ingest.catalog import arrow, casting, reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.field import Field
from ingest.core.records import Product

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.core.contract import Contract

SHIPPED = contract_file.load(contract_file.default_path())
PLAIN = replace(SHIPPED, fields=())
D = Decimal
BIG, BIGGER, LONG = D(123456789012345678), D("12345678901234567.89"), D("12345678901234567890.12")
NOW = int(dt.datetime(2026, 1, 1, tzinfo=dt.UTC).timestamp()) * 10**6  # µs
END = int(dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC).timestamp()) * 10**6
FAR = "+57971-02-25T00:00:00"
NOT_UTF8 = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\4\0\0\0"), pa.py_buffer(b"caf\xe9")])


def with_field(kind: str, length: int = 20) -> Contract:
    field = Field("value", kind, "value", length if kind == "VARCHAR" else 0, None)
    return replace(SHIPPED, fields=(field,))


def everything(path: Path, contract: Contract = SHIPPED):
    return list(reader.read_catalog(path, contract, Columns()))


def kept(folder: Path, column: pa.Array, contract=PLAIN) -> list[Any]:
    """Return what a column called value becomes: the kept values, None if empty, or the reason why a row is skipped."""
    count = len(column)
    ids = [f"p{number}" for number in range(count)]
    parquet.write_table(
        pa.table({"product_id": ids, "image": ["a.jpg"] * count, "value": column}), folder / "p.parquet"
    )
    items = everything(folder / "p.parquet", contract)
    return [item.metadata.get("value") if isinstance(item, Product) else item.detail for item in items]


def timestamps(unit: str, *values: int | None, zone: str | None = None) -> pa.Array:
    return pa.array(values, pa.timestamp(unit, zone))


KEPT = {
    "whole numbers": (pa.array([5, None], pa.int32()), [5, None]),
    "unsigned 64": (pa.array([2**64 - 1, 2**63 - 1], pa.uint64()), ["18446744073709551615", 2**63 - 1]),
    "a decimal without places": (pa.array([D(5), BIG], pa.decimal128(38, 0)), [5, 123456789012345678]),
    "a longer one": (pa.array([D(10**30 + 1)], pa.decimal128(38, 0)), [str(10**30 + 1)]),
    "a decimal with places": (pa.array([D("1.10"), D("5.00")], pa.decimal128(38, 2)), [1.1, 5.0]),
    "one that a double would round": (pa.array([BIGGER], pa.decimal128(38, 2)), [str(BIGGER)]),
    "256 bits": (pa.array([LONG, D(1)], pa.decimal256(40, 2)), [str(LONG), 1.0]),
    "doubles": (pa.array([0.1, float("nan"), float("inf")]), [0.1, None, "inf"]),
    "half floats": (pa.array([1.5], pa.float16()), [1.5]),
    "booleans": (pa.array([True, None]), [True, None]),
    "days": (pa.array([0, -800_000], pa.int32()).cast(pa.date32()), ["1970-01-01", "-0221-09-04"]),
    "moments": (timestamps("us", NOW, NOW + 1), ["2026-01-01T00:00:00", "2026-01-01T00:00:00.000001"]),
    "moments in UTC": (timestamps("us", END, zone="UTC"), ["9999-12-31T23:59:59+00:00"]),
    "moments in a zone": (timestamps("us", NOW, zone="Europe/Berlin"), ["2026-01-01T01:00:00+01:00"]),
    "for ever in a zone": (timestamps("us", END, zone="Europe/Berlin"), ["9999-12-31T23:59:59+00:00"]),
    "for ever at an offset": (timestamps("s", END // 10**6, zone="+02:00"), ["9999-12-31T23:59:59+00:00"]),
    "a zone that is none": (timestamps("us", NOW, zone="Mars/Phobos"), ["2026-01-01T00:00:00+00:00"]),
    "milliseconds taken for seconds": (timestamps("us", NOW * 1000, NOW), [FAR, "2026-01-01T00:00:00"]),
    "the same in UTC": (timestamps("us", NOW * 1000 + 1, zone="UTC"), ["+57971-02-25T00:00:00.000001+00:00"]),
    "nanoseconds": (timestamps("ns", NOW * 1000 + 1, None), ["2026-01-01T00:00:00.000000001", None]),
    "times": (pa.array([dt.time(9, 30), None]), ["09:30:00", None]),
    "times of nanoseconds": (pa.array([1, 2_000], pa.time64("ns")), ["00:00:00.000000001", "00:00:00.000002"]),
    "midnight at the end of a day": (pa.array([86_400], pa.time32("s")), ["24:00:00"]),
    "durations": (pa.array([1_500_000, None], pa.duration("us")), ["0:00:01.500000", None]),
    "durations of ages": (pa.array([2**62], pa.duration("s")), [f"{2**62} s"]),
    "text": (pa.array(["a", ""], pa.large_string()).dictionary_encode(), ["a", None]),
    "text that is not UTF-8": (NOT_UTF8, [None]),
    "bytes": (pa.array([b"ok", b"\xff\xfe"]), ["ok", None]),
    "UUIDs": (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), ["00000000-0000-0000-0000-000000000001"]),
    "lists": (pa.array([["a", "b"], []]), ['["a", "b"]', "[]"]),
    "structs": (pa.array([{"w": 1, "h": [1, 2]}, None]), ['{"h": [1, 2], "w": 1}', None]),
    "maps": (pa.array([[("k", "v")]], pa.map_(pa.string(), pa.string())), ['[["k", "v"]]']),
    "a list of bad dates": (pa.array([[NOW * 1000, None]], pa.list_(pa.timestamp("us"))), [f'["{FAR}", null]']),
    "a struct of bad dates": (
        pa.array([{"a": NOW * 1000}], pa.struct([("a", pa.timestamp("us"))])), [f'{{"a": "{FAR}"}}'],
    ),
    "a list of decimals": (pa.array([[D("1.10")]], pa.list_(pa.decimal128(38, 2))), ['["1.10"]']),
}  # fmt: skip


@pytest.mark.parametrize(("column", "expected"), KEPT.values(), ids=KEPT.keys())
def test_a_column_outside_the_contract_is_kept_exactly(tmp_path, column, expected):
    found = kept(tmp_path, column)
    assert found == expected
    assert list(map(type, found)) == list(map(type, expected))


TYPED = {
    "a whole decimal": ("INT64", D(123456789012345678), 123456789012345678),
    "a decimal with places": ("INT64", D("5.5"), None),
    "a whole one with places": ("INT64", D("12345678901234567.00"), 12345678901234567),
    "one that is too long": ("INT64", D(2**63), None),
    "a price": ("DOUBLE", D("12.50"), 12.5),
    "what a double holds": ("DOUBLE", 2**53, 2.0**53),
    "what it does not": ("DOUBLE", 2**53 + 1, None),
    "a decimal that it would round": ("DOUBLE", D("12345678901234567.89"), None),
    "a price of 32 bits": ("FLOAT", D("12.50"), 12.5),
    "a number that 32 bits round, as FLOAT says": ("FLOAT", D(16_777_217), 16_777_216.0),
    "one that a double would round too": ("FLOAT", D(123456789012345678), None),
    "a decimal as a switch": ("BOOL", D(1), True),
    "another": ("BOOL", D(2), None),
    "a double as a switch": ("BOOL", 1.0, True),
    "one off": ("BOOL", 0.0, False),
    "half a switch": ("BOOL", 0.5, None),
    "a decimal as text": ("VARCHAR", D("1.10"), "1.10"),
}


@pytest.mark.parametrize(("kind", "cell", "expected"), TYPED.values(), ids=TYPED.keys())
def test_a_field_of_the_contract_has_the_exact_number_or_the_row_is_skipped(tmp_path, kind, cell, expected):
    (found,) = kept(tmp_path, pa.array([cell]), with_field(kind))
    if expected is None:
        assert found.startswith(f"value is {cell}; ")
    else:
        assert (found, type(found)) == (expected, type(expected))


def test_a_cell_of_the_wrong_type_skips_its_row_alone(tmp_path):
    bad, good = kept(tmp_path, timestamps("us", NOW * 1000, NOW), with_field("VARCHAR", length=19))
    assert bad == "value is '+57971-02-25T00:00:00'; text of at most 19 bytes of UTF-8"
    assert good == "2026-01-01T00:00:00"


def test_columns_that_the_contract_leaves_out_are_not_read(tmp_path, monkeypatch):
    read = []
    values = arrow.values
    monkeypatch.setattr(arrow, "values", lambda column: read.append(column.type) or values(column))
    (found,) = kept(tmp_path, timestamps("us", NOW * 1000), replace(PLAIN, keeps_others=False))
    assert found is None
    assert read == [pa.string(), pa.string()]


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (pa.array([17]), "17"),
        (pa.array([Decimal(17)], pa.decimal128(20, 0)), "17"),
        (pa.array([b"017"]), "017"),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), "00000000-0000-0000-0000-000000000001"),
        (pa.array(["0017"]), "0017"),
        (pa.array([17.0]), None),
        (pa.array([Decimal("17.50")]), None),
    ],
)
def test_parquet_ids_are_text_whole_numbers_or_uuids(tmp_path, ids, kept):
    parquet.write_table(pa.table({"product_id": ids, "image": ["a.jpg"]}), tmp_path / "p.pq")
    (item,) = everything(tmp_path / "p.pq")
    assert item.product_id == (kept or "")
    assert isinstance(item, Product) == (kept is not None)


def test_without_time_zone_data_timestamps_are_kept_in_utc_and_the_zone_is_named(tmp_path):
    parquet.write_table(
        pa.table({"product_id": ["1"], "image": ["a.jpg"], "value": timestamps("us", NOW, zone="Europe/Berlin"),
                  "utc": timestamps("us", NOW, zone="UTC")}),
        tmp_path / "p.parquet",
    )  # fmt: skip
    script = (
        "import sys; sys.modules['tzdata'] = None\n"
        "from pathlib import Path; from ingest.core import contract_file; from ingest.catalog import reader\n"
        "from ingest.catalog.rows import Columns\n"
        f"path = Path({str(tmp_path / 'p.parquet')!r})\n"
        "items = reader.read_catalog(path, contract_file.load(contract_file.default_path()), Columns())\n"
        "print(*[f'{item.metadata[name]}' for item in items for name in ('value', 'utc')])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONTZPATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["2026-01-01T00:00:00+00:00"] * 2
    assert (
        done.stderr.count(
            "column 'value' is kept in UTC, because this machine has no data for the time zone 'Europe/Berlin'"
        )
        == 1
    )
    assert len(done.stderr.splitlines()) == 1


units = st.sampled_from(["s", "ms", "us", "ns"])
numbers = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.sampled_from([0, END, NOW * 1000, NOW, -1]))
types = st.one_of(
    units.map(pa.timestamp),
    st.builds(pa.timestamp, units, st.sampled_from(["UTC", "Europe/Berlin", "-11:30", "no/zone"])),
    units.map(pa.duration),
    st.sampled_from([pa.time64("us"), pa.time64("ns"), pa.date64()]),
)


@settings(deadline=None)
@given(st.lists(numbers, min_size=1, max_size=4), types)
def test_any_value_of_any_time_type_is_kept_as_text(column, kind):
    if kind == pa.date64():
        column = [None if number is None else number // 86_400_000 * 86_400_000 % 2**63 for number in column]
    array = pa.array(column, pa.int64()).view(kind)
    found = arrow.values(array)
    assert [value is None for value in found] == [number is None for number in column]
    assert all(casting.text(value).isascii() for value in found if value is not None)
    # Nothing is lost: different moments have different texts.
    told = {casting.text(value) for value in found if value is not None}
    assert len(told) == len({number for number in column if number is not None})
