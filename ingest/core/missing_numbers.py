"""Missing numbers: NaN in a product's metadata; in a collection NaN, null or a number that stands for it.

Which one depends on the server: Milvus up to 2.4.1 and Milvus Lite accept NaN, Milvus from 2.5 accepts null in nullable
fields, and 2.4.2 to 2.4.23 accept neither.
"""

from __future__ import annotations

import math
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ingest.core.contract import Contract


class Keeps(StrEnum):
    """What a server accepts for a missing number."""

    NAN = "nan"
    NULL = "null"
    NEITHER = "neither"


def is_possible(contract: Contract) -> bool:
    """Return whether any number of the contract may be missing."""
    return any(field.may_be_missing for field in contract.fields)


def on_server(contract: Contract, keeps: Keeps) -> Contract:
    """Return the contract of a collection on a server that stores missing numbers this way."""
    fields = [field for field in contract.fields if field.may_be_missing]
    found: dict[Keeps, dict[str, float | None]] = {
        Keeps.NAN: {},
        Keeps.NULL: dict.fromkeys((field.name for field in fields), None),
        Keeps.NEITHER: {field.name: field.missing for field in fields if field.missing is not None},
    }
    return replace(contract, missing=found[keeps])


def to_stored(values: Sequence[Any], name: str, contract: Contract) -> Sequence[Any]:
    """Return a field's values as its collection stores them: None for null."""
    if name not in contract.missing:
        return values
    instead = contract.missing[name]
    return [instead if is_nan(value) else value for value in values]


def from_stored(value: Any, name: str, missing: Mapping[str, float | None]) -> Any:
    """Return a value read from Milvus; None for a missing number, however the collection stores it.

    `missing` comes from the contract, or from the collection's property.
    """
    return None if value is None or is_nan(value) or value == missing.get(name) else value


def is_nan(value: Any) -> bool:
    """Return whether a value of a product's metadata is a missing number."""
    return isinstance(value, float) and math.isnan(value)
