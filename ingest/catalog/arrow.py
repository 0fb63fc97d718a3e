"""Arrow columns as Python values, without loss: cell by cell if a cell has no Python value."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
# What pyarrow raises for a cell without a Python value; UnicodeDecodeError and ArrowInvalid are ValueErrors.
_NO_VALUE = (ValueError, OverflowError)


def values(column: pa.Array) -> list[Any]:
    """Return the cells of a column; those that Python's types cannot hold become text or bytes of the same content.

    These are dates outside the years 1 to 9999, times with nanoseconds, durations of millions of years, and text that
    is not UTF-8, also inside lists and structs. A timestamp in a time zone that this machine does not know is given in
    UTC.
    """
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        return values(column.dictionary_decode())
    # Times are converted one by one, because pyarrow cuts their nanoseconds off and reads 24:00 as 00:00.
    if not _has_times(column.type):
        try:
            return column.to_pylist()  # type: ignore[no-any-return]
        except _NO_VALUE:
            pass
    return [_value(cell) for cell in column]


def unknown_zones(schema: pa.Schema, names: Iterable[str]) -> dict[str, str]:
    """Return the time zones that this machine does not know, by column, for the columns of these names."""
    import pyarrow as pa

    zones = {}
    for name in names:
        kind = schema.field(name).type
        if pa.types.is_timestamp(kind) and kind.tz not in (None, "UTC") and not _is_known(kind):
            zones[name] = kind.tz
    return zones


def _is_known(kind: pa.TimestampType) -> bool:
    import pyarrow as pa

    try:
        pa.scalar(0, kind).as_py()
    except _NO_VALUE:
        return False
    return True


def _has_times(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(kind):
        return _has_times(kind.value_type)
    inner = [kind.field(number).type for number in range(kind.num_fields)]
    return pa.types.is_time(kind) or any(map(_has_times, inner))


def _value(cell: pa.Scalar) -> Any:
    import pyarrow as pa

    if not cell.is_valid:
        return None
    if pa.types.is_nested(cell.type):
        return _nested(cell)
    if pa.types.is_dictionary(cell.type):
        return _value(cell.value)
    if pa.types.is_time(cell.type):
        return _time(cell)
    try:
        return cell.as_py()
    except _NO_VALUE:
        return _without_value(cell)


def _nested(cell: pa.Scalar) -> Any:
    import pyarrow as pa

    if pa.types.is_map(cell.type):
        return [(_value(entry[0]), _value(entry[1])) for entry in cell.values]
    if pa.types.is_struct(cell.type):
        return {name: _value(inner) for name, inner in cell.items()}
    return [_value(inner) for inner in cell.values]


def _without_value(cell: pa.Scalar) -> Any:
    """Return a cell for which `as_py` fails, as text or bytes."""
    import pyarrow as pa

    kind = cell.type
    if pa.types.is_timestamp(kind):
        return _timestamp(cell)
    if pa.types.is_date(kind):
        return _far(cell.value, "D" if pa.types.is_date32(kind) else "ms").partition("T")[0]
    if pa.types.is_duration(kind):
        return f"{cell.value} {kind.unit}"
    if isinstance(cell, pa.ExtensionScalar):
        return _value(cell.value)
    return cell.as_buffer().to_pybytes()


def _timestamp(cell: pa.TimestampScalar) -> Any:
    """Return a timestamp in UTC, or as text if its year is outside 1 to 9999."""
    import pyarrow as pa

    unit, zone = cell.type.unit, cell.type.tz
    try:
        return pa.scalar(cell.value, pa.timestamp(unit)).as_py().replace(tzinfo=dt.UTC if zone else None)
    except _NO_VALUE:
        return _far(cell.value, unit) + ("+00:00" if zone else "")


def _far(value: int, unit: Any) -> str:
    """Return `value` units since 1970 as ISO 8601 writes years of more than four digits: +57971-02-25T00:00:00."""
    import numpy as np

    moment = str(np.datetime64(value, unit))
    if moment == "NaT":  # numpy reads the smallest number as this
        return f"{value} {unit}"
    sign = "-" if moment.startswith("-") else "+"
    year, _, rest = moment.removeprefix("-").partition("-")
    day, _, fraction = rest.partition(".")
    return f"{sign}{year:0>4}-{day}" + (f".{fraction:0<6}" if fraction.strip("0") else "")


def _time(cell: pa.Scalar) -> Any:
    """Return a time, or text if it has nanoseconds or is outside of a day."""
    scale = _UNITS[cell.type.unit]
    seconds, parts = divmod(abs(cell.value), scale)
    sign = "-" if cell.value < 0 else ""
    if not sign and seconds < 86_400 and parts * 10**6 % scale == 0:
        return cell.as_py()
    digits = len(str(scale)) - 1
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (
        f".{parts:0{digits}}" if parts else ""
    )
