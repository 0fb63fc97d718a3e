"""Arrow's columns as Python values: exactly, and cell by cell if Python has no value for one of them."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pyarrow as pa

_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_UNFIT = (ValueError, OverflowError)  # what pyarrow raises for a cell, UnicodeDecodeError and ArrowInvalid among them


def values(column: pa.Array) -> list[Any]:
    """Return the cells of a column; those that Python's types cannot hold are text or bytes with the same content.

    These are dates outside the years 1 to 9999, times of a day with nanoseconds, durations of millions of years, and
    text that is not UTF-8, also inside lists and structs. A moment in a zone of which this machine knows nothing is
    given in UTC.
    """
    # Times are looked at one by one: pyarrow cuts their nanoseconds off, and takes 24:00 for 00:00.
    if not _has_times(column.type):
        try:
            return column.to_pylist()  # type: ignore[no-any-return]
        except _UNFIT:
            pass
    return [_value(cell) for cell in column]


def unknown_zones(schema: pa.Schema, names: Iterable[str]) -> dict[str, str]:
    """Return the time zones that this machine knows nothing of, by the columns of these names that are in them."""
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
    except _UNFIT:
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
    except _UNFIT:
        return _written(cell)


def _nested(cell: pa.Scalar) -> Any:
    import pyarrow as pa

    if pa.types.is_map(cell.type):
        return [(_value(entry[0]), _value(entry[1])) for entry in cell.values]
    if pa.types.is_struct(cell.type):
        return {name: _value(inner) for name, inner in cell.items()}
    return [_value(inner) for inner in cell.values]


def _written(cell: pa.Scalar) -> Any:
    """Return a cell that `as_py` fails for."""
    import pyarrow as pa

    kind = cell.type
    if pa.types.is_timestamp(kind):
        return _moment(cell)
    if pa.types.is_date(kind):
        return _far(cell.value, "D" if pa.types.is_date32(kind) else "ms").partition("T")[0]
    if pa.types.is_duration(kind):
        return f"{cell.value} {kind.unit}"
    if isinstance(cell, pa.ExtensionScalar):
        return _value(cell.value)
    return cell.as_buffer().to_pybytes()


def _moment(cell: pa.TimestampScalar) -> Any:
    """Return a moment in UTC, or as text if its year is outside of 1 to 9999."""
    import pyarrow as pa

    unit, zone = cell.type.unit, cell.type.tz
    try:
        return pa.scalar(cell.value, pa.timestamp(unit)).as_py().replace(tzinfo=dt.UTC if zone else None)
    except _UNFIT:
        return _far(cell.value, unit) + ("+00:00" if zone else "")


def _far(value: int, unit: Any) -> str:
    """Return `value` units since 1970 as ISO 8601 writes years of more than four digits: +57971-02-25T00:00:00."""
    import numpy as np

    moment = str(np.datetime64(value, unit))
    if moment == "NaT":  # numpy's own use of the smallest number
        return f"{value} {unit}"
    sign = "-" if moment.startswith("-") else "+"
    year, _, rest = moment.removeprefix("-").partition("-")
    day, _, fraction = rest.partition(".")
    return f"{sign}{year:0>4}-{day}" + (f".{fraction:0<6}" if fraction.strip("0") else "")


def _time(cell: pa.Scalar) -> Any:
    """Return a time of a day, or text if it has nanoseconds or is none of a day's."""
    scale = _UNITS[cell.type.unit]
    seconds, parts = divmod(abs(cell.value), scale)
    sign = "-" if cell.value < 0 else ""
    if not sign and seconds < 86_400 and parts * 10**6 % scale == 0:
        return cell.as_py()
    digits = len(str(scale)) - 1
    return f"{sign}{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}" + (
        f".{parts:0{digits}}" if parts else ""
    )
