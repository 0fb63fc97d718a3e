"""JSON for digests: equal content always gives the same text, whatever the order of its keys."""

from __future__ import annotations

import json
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_ENCODER = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=True, check_circular=False)
_NUMBERS = frozenset({int, float, bool})


def encode(content: Mapping[str, Any]) -> str:
    """Return JSON in ASCII with sorted keys and no spaces."""
    return _ENCODER.encode(content if type(content) is dict else dict(content))


def encode_rows(rows: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    """Return what `encode` returns for each row, in a third of the time if all rows have the same keys."""
    if not rows or not rows[0] or any(row.keys() != rows[0].keys() for row in rows):
        return map(encode, rows)
    names = sorted(rows[0])
    columns = [_column([row[name] for row in rows]) for name in names]
    form = ",".join(encode_basestring_ascii(name).replace("%", "%%") + ":%s" for name in names)
    return map(f"{{{form}}}".__mod__, zip(*columns, strict=True))


def _column(values: list[Any]) -> Iterable[str]:
    kinds = set(map(type, values))
    if kinds == {str}:
        return map(encode_basestring_ascii, values)
    if kinds <= _NUMBERS:
        return _ENCODER.encode(values)[1:-1].split(",")  # no number has a comma
    return map(_ENCODER.encode, values)
