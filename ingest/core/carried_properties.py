"""The properties that a collection carries, read: anybody can write them, so any text gives a value or none.

`ingest.contract`, `ingest.missing` and `ingest.importing` are JSON; the times are ISO 8601.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ingest.core import search_ef

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST = 2**31


def read_json(text: str) -> Any:
    """Return the value of a JSON text; None if it is no JSON, or cannot be written again: too deep, or not finite."""
    try:
        value = json.loads(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return None
    return value


def read_contract(carried: str) -> dict[str, Any]:
    """Return a collection's contract property as a dictionary with all three ef values; {} if it is no contract.

    All keys that ingest reads have their type and a possible value; other keys are kept as they are.
    """
    contract = read_json(carried)
    if not isinstance(contract, dict) or not all(fits(contract.get(key)) for key, fits in _KEYS.items()):
        return {}
    known = {key: value for key, value in contract.items() if value is not None or key not in _KEYS}
    return search_ef.add_measured(known, measured_ef(carried))


def measured_ef(carried: str) -> int | None:
    """Return the ef that was measured on a collection, from its contract property; None if there is none.

    An invalid contract or ef counts as none: the next run writes the property again.
    """
    contract = read_json(carried)
    found = contract.get("ef_measured") if isinstance(contract, dict) else None
    return found if _is_ef(found) else None


def read_time(text: str) -> str:
    """Return a time as ISO 8601 in UTC, with milliseconds; "" if the text is not a time or has no time zone."""
    try:
        time = datetime.fromisoformat(text)
        return time.astimezone(UTC).isoformat(timespec="milliseconds") if time.tzinfo else ""
    except (ValueError, OverflowError):
        return ""


def _is_whole(value: Any) -> bool:
    return type(value) is int and 1 <= value < _MOST


def _is_ef(value: Any) -> bool:
    return type(value) is int and 1 <= value <= search_ef.LARGEST_EF


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _are_fields(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value.values()))


def _are_missing_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(
        number is None or (isinstance(number, int | float) and not isinstance(number, bool))
        for number in value.values()
    )


_KEYS: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("alias", "model", "revision", "fingerprint", "vector_field"), _is_text),
    "dim": _is_whole,
    "ef": _is_ef,
    "ef_schema": lambda value: value is None or _is_ef(value),  # contracts of older versions have none
    "fields": _are_fields,
    "index": lambda value: isinstance(value, dict) and _is_whole(value.get("M")),
    "group": lambda value: value is None or _is_text(value),
    "missing": lambda value: value is None or _are_missing_numbers(value),
}
"""What ingest reads of a contract, and what it may be; None stands for a key that is absent."""
