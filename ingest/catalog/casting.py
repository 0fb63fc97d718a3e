"""Cells as values of the contract's types."""

from __future__ import annotations

import json
import math
import re
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

from ingest.catalog import exact_numbers
from ingest.core.redaction import redact_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeGuard

    from ingest.core.field import Field
    from ingest.core.records import Scalar

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_WHOLE = re.compile(r"[+-]?[0-9]{1,30}(\.0*)?")  # pandas writes 12 as 12.0 if the column has gaps
_ZEROS = re.compile(r"(?<=^[01])\.0*$")  # pandas writes true as 1.0 if the column has gaps
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_NUMBER_CHARACTERS = re.compile(r"[0-9.+-]*")
_OPEN_NUMBER = re.compile(r"^[+-]?[1-9][0-9]{0,2}\.[0-9]{3}$", re.MULTILINE)  # thousands, if the point groups
_TRUE_FALSE = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
_TOO_FINE = "more digits than a DOUBLE keeps (15 to 17); shorten it, or make the field a VARCHAR"
_SHOWN = 60  # characters of a bad value that a message repeats
_LONGEST_PLAIN = 100  # digits; a longer decimal, such as 1e400, is written with its exponent


class CastError(ValueError):
    """A cell that cannot become its field's type; its message, if any, replaces that of `describe_allowed`."""


def display(value: Any) -> str:
    """Return a value for a message: one line, its text in quotes, cut after 60 characters, no password of a URL."""
    if isinstance(value, str):
        value = redact_text(value)
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    plain = text(value) if isinstance(value, Decimal | date | time | UUID) else repr(value)
    return plain if len(plain) <= _SHOWN else plain[:_SHOWN] + "…"


def is_empty(value: Any) -> bool:
    """Return whether a cell holds nothing: None, NaN, or text without a visible character."""
    if isinstance(value, str | bytes):
        return not value or value.isspace()
    return value is None or (isinstance(value, float) and math.isnan(value))


def text(value: Any) -> str:
    """Return a cell as text: dates in ISO 8601, decimals exactly, true and false in lower case, the rest as JSON.

    Raises ValueError for bytes that are not UTF-8, RecursionError for values nested too deeply.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, date | time):  # a datetime is a date too
        return value.isoformat()
    if isinstance(value, Decimal):
        return format(value, "f") if abs(value.adjusted()) < _LONGEST_PLAIN else str(value)
    if isinstance(value, bool | list | tuple | dict):
        # Sorted, so that a row's digest does not depend on the order of keys.
        return json.dumps(value, ensure_ascii=False, sort_keys=True, default=text)
    return str(value)


def json_scalar(value: Any) -> Scalar | None:
    """Return a cell for the dynamic field: a JSON scalar as it is, anything else as text; nothing is rounded.

    None for an empty cell, and for bytes that are not text, such as an image.
    """
    if is_empty(value):
        return None
    if isinstance(value, str | bool):
        return value
    if isinstance(value, Decimal):
        value = exact_numbers.plain(value)
    # JSON has no infinity, and Milvus no whole number above 64 bits.
    if (isinstance(value, int) and -(2**63) <= value < 2**63) or (isinstance(value, float) and math.isfinite(value)):
        return value
    try:
        return text(value)
    except (ValueError, RecursionError):
        return None


def control_character(value: str) -> str | None:
    """Return the first control character of `value` as U+XXXX, or None."""
    if value.isprintable():
        return None
    found = _CONTROL.search(value)
    return f"U+{ord(found.group()):04X}" if found else None


def converter(field: Field) -> Callable[[Any], Scalar]:
    """Return the function that converts a cell that is not empty to the field's type.

    It raises ValueError, OverflowError or RecursionError for a cell that does not convert.
    """
    if field.type == "VARCHAR":
        return _varchar(field.max_length)
    return {"INT64": _int64, "FLOAT": _float, "DOUBLE": _double, "BOOL": _bool}[field.type]


def describe_allowed(field: Field) -> str:
    """Return what a cell of the field may be, for a message."""
    return {
        "VARCHAR": f"text of at most {field.max_length} bytes of UTF-8",
        "INT64": "a whole number of 64 bits such as 1299",
        "FLOAT": "a number of 32 bits such as 1299.50, or an amount such as 1.299,50 €",
        "DOUBLE": "a number such as 1299.50, or an amount such as 1.299,50 €",
        "BOOL": "true or false, yes or no, 1 or 0",
    }[field.type]


def safe_length(max_length: int) -> int:
    """Return how many characters always fit into `max_length` bytes: none is longer than 4 in UTF-8."""
    return max_length // 4


def all_text(column: Sequence[Any]) -> TypeGuard[Sequence[str]]:
    """Return whether every cell is text, and none is empty."""
    return set(map(type, column)) == {str} and all(map(str.strip, column))


def has_open_number(column: Sequence[str]) -> bool:
    """Return whether a number, such as 1.299, might be one of thousands."""
    return _OPEN_NUMBER.search("\n".join(column)) is not None


def doubles(column: Sequence[Any]) -> list[float] | None:
    """Return a column as DOUBLE values, or None if a cell is not plainly a number."""
    # With these characters alone `float` accepts only numbers; with others also "nan", "1_000" and "٣".
    # Numbers this short, without an exponent, are kept exactly.
    if set(map(type, column)) != {str} or not _NUMBER_CHARACTERS.fullmatch("".join(column)):
        return None
    if max(map(len, column)) > exact_numbers.SAFE_LENGTH:
        return None
    try:
        numbers = list(map(float, column))
    except ValueError:
        return None
    return None if math.inf in numbers or -math.inf in numbers else numbers


def _varchar(max_length: int) -> Callable[[Any], str]:
    safe = safe_length(max_length)

    def convert(value: Any) -> str:
        content = value if type(value) is str else text(value)
        if len(content) > safe and len(content.encode()) > max_length:
            raise CastError
        return content

    return convert


def _int64(value: Any) -> int:
    if isinstance(value, str):
        value = value.strip()
        if not _WHOLE.fullmatch(value):
            raise CastError
        number = int(value.partition(".")[0])
    else:
        too_long = isinstance(value, Decimal) and value.adjusted() > 18  # such as 1e999999999, which is whole
        if too_long or isinstance(value, bool) or not isinstance(value, int | float | Decimal) or value != int(value):
            raise CastError
        number = int(value)
    if not -(2**63) <= number < 2**63:
        raise CastError
    return number


def _number(value: Any) -> float:
    """Return a cell as the nearest double."""
    if isinstance(value, str):
        if not _NUMBER.fullmatch(value):
            raise CastError
    elif isinstance(value, bool) or not isinstance(value, int | float | Decimal):
        raise CastError
    number = float(value)
    if math.isinf(number):
        raise CastError
    return number


def _double(value: Any) -> float:
    value = value.strip() if isinstance(value, str) else value
    number = _number(value)
    if not isinstance(value, float) and not exact_numbers.keeps(number, value):
        raise CastError(_TOO_FINE)
    return number


def _float(value: Any) -> float:
    # Rounded as the collection rounds it, because the digest covers what a query returns.
    return exact_numbers.float32(_double(value))


def _bool(value: Any) -> bool:
    if isinstance(value, str):
        found = _TRUE_FALSE.get(_ZEROS.sub("", value.strip().lower()))
        if found is None:
            raise CastError
        return found
    if not isinstance(value, bool | int | float | Decimal) or value not in (0, 1):
        raise CastError
    return bool(value)
