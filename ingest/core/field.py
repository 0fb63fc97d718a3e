"""A typed field of the contract: its table under `[[fields]]`, read and checked, and names that Milvus accepts.

Names: letters, digits and `_` up to 255 characters, VARCHAR up to 65,535 bytes (https://milvus.io/docs/limitations.md).
"""

from __future__ import annotations

import math
import re
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ingest.core.records import Scalar

TYPES = ("VARCHAR", "INT64", "FLOAT", "DOUBLE", "BOOL")
MAX_VARCHAR = 65_535

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_MAX_FLOAT = {"FLOAT": 3.4028234663852886e38, "DOUBLE": sys.float_info.max}
_WORDS = frozenset({"like", "and", "or", "not", "in", "null"})
"""Refused as field names in any capitalisation: `like` to `in` since 2.4.12, `null` since 3.0."""
_FUNCTIONS = (
    "exists", "json_contains", "json_contains_all", "json_contains_any", "array_contains", "array_contains_all",
    "array_contains_any", "array_length", "text_match", "phrase_match", "random_sample",
)  # fmt: skip
_KEYWORDS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE", *_FUNCTIONS, *map(str.upper, _FUNCTIONS)})
"""Refused in exactly these spellings: since 2.4.12, `text_match` since 2.5, `phrase_match` and `random_sample` since
2.6 (https://github.com/milvus-io/milvus/blob/master/pkg/common/field_name_keywords.go)."""
_COLUMNS = frozenset({"RowID", "Timestamp", "__virtual_pk__"})
"""Milvus' own columns: every version refuses the first two, 3.0 and later the last (milvus-io/milvus#49314)."""


class FaultError(Exception):
    """What is wrong with a key of the contract; the caller adds the file's name."""


@dataclass(frozen=True, slots=True)
class Field:
    """One typed metadata field: `column` of the catalog becomes `name` in the collection.

    `max_length` counts UTF-8 bytes and is 0 except for VARCHAR. `default` is None if an empty cell is an error.
    `missing` is the number that stands for a missing one if the server accepts neither NaN nor null; None if not set.
    """

    name: str
    type: str
    column: str
    max_length: int
    default: Scalar | None
    missing: float | None = None

    @property
    def may_be_missing(self) -> bool:
        """Whether an empty cell becomes NaN, a missing number."""
        return isinstance(self.default, float) and math.isnan(self.default)


def read_field(entry: dict[str, Any], number: int) -> Field:
    """Read the field in a table, whose `number` counts from 1; raises FaultError."""
    place = f"fields[{number}]."
    no_others(entry, {"name", "type", "column", "max_length", "default", "missing"}, place)
    name = field_name(entry.get("name"), f"{place}name", "; the catalog's column may keep its name")
    kind = entry.get("type")
    if kind not in TYPES:
        raise FaultError(f"{place}type of {name} is {kind!r}; one of {', '.join(TYPES)}")
    length = integer(entry, "max_length", place, 1, MAX_VARCHAR) if kind == "VARCHAR" else 0
    column = entry.get("column", name)
    if not isinstance(column, str) or not column:
        raise FaultError(f"{place}column of {name} must be a column's name")
    default = entry.get("default")
    if default is not None:
        default = _default(default, kind, length, f"{place}default of {name}")
    field = Field(name, kind, column, length, default)
    if "missing" not in entry:
        return field
    return Field(name, kind, column, length, default, _missing(entry["missing"], field, f"{place}missing of {name}"))


def field_name(value: Any, place: str, more: str = "") -> str:
    """Return a value that every version of Milvus accepts as a field name, so that a contract survives an upgrade.

    Raises FaultError with a message that ends with `more`.
    """
    found = milvus_name(value, place)
    taken = {
        "a word of Milvus' filters": found.lower() in _WORDS or found in _KEYWORDS,
        "a column of Milvus' own": found in _COLUMNS,
    }
    for what in (what for what, is_taken in taken.items() if is_taken):
        raise FaultError(f"{place} is {found!r}, {what}; choose another name{more}")
    return found


def milvus_name(value: Any, place: str) -> str:
    """Return a value that Milvus accepts as a name; raises FaultError."""
    if not isinstance(value, str) or not _NAME.fullmatch(value):
        raise FaultError(f"{place} is {value!r}; Milvus accepts letters, digits and _, not starting with a digit")
    return value


def integer(table: Mapping[str, Any], key: str, prefix: str, low: int, high: int) -> int:
    """Return a key's value; raises FaultError unless it is a whole number from `low` to `high`."""
    value = table.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise FaultError(f"{prefix}{key} is {value!r}; it must be a whole number from {low} to {high}")
    return value


def no_others(table: Any, known: set[str], prefix: str) -> None:
    """Raise FaultError for a key that is not `known`, or if this is not a table."""
    if not isinstance(table, dict):
        raise FaultError(f"{prefix.rstrip('.')} must be a table")
    for key in table:
        if key not in known:
            shown = " ".join(key.split())
            raise FaultError(f"{prefix}{shown} is not a key of the contract; known: {', '.join(sorted(known))}")


def _default(value: Any, kind: str, length: int, place: str) -> Scalar:
    fits = {
        "VARCHAR": isinstance(value, str) and len(str(value).encode()) <= length,
        "INT64": isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63,
        "BOOL": isinstance(value, bool),
    }.get(kind, isinstance(value, int | float) and not isinstance(value, bool))
    if kind in _MAX_FLOAT:
        fits = fits and not abs(value) > _MAX_FLOAT[kind]  # NaN is not greater: it is allowed, and means unknown
    if not fits:
        raise FaultError(f"{place} is {str(value)[:60]!r}, which is not {kind}")
    if kind in _MAX_FLOAT:
        return float(value)
    return value  # type: ignore[no-any-return]


def _missing(value: Any, field: Field, place: str) -> float:
    if not field.may_be_missing:
        raise FaultError(f"{place}: only a FLOAT or DOUBLE with default = nan may have it; remove it")
    number = _default(value, field.type, 0, place)
    assert isinstance(number, float)
    # What is read back must equal what was written.
    kept = struct.unpack("<f", struct.pack("<f", number))[0] if field.type == "FLOAT" else number
    if kept != number:
        raise FaultError(f"{place} is {value!r}; it must be a number that a {field.type} stores exactly, such as -1.0")
    return number
