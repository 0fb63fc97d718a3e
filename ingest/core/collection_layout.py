"""Shards, replicas and partition key of a collection: the contract's `[collection]` table, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = ("shards", "replicas", "partition_key")
PARTITION_KEY_TYPES = ("VARCHAR", "INT64")
"""The types that Milvus accepts for a partition key (https://milvus.io/docs/use-partition-key.md)."""
# More makes no sense; a server refuses what is too many for it (by default, more than 16 shards).
_MOST = {"shards": 64, "replicas": 1024}


@dataclass(frozen=True, slots=True)
class Layout:
    """The layout of a collection. `shards` and `partition_key` are permanent; `replicas` apply at the next load.

    0 and "" leave the choice to the server: one shard, one replica, no partition key.
    """

    shards: int = 0
    replicas: int = 0
    partition_key: str = ""

    @property
    def lasting(self) -> dict[str, Any]:
        """The settings that are set and cannot be changed in an existing collection."""
        lasting = {"shards": self.shards, "partition_key": self.partition_key}
        return {key: value for key, value in lasting.items() if value}


NONE = Layout()


def read(table: object, types: Mapping[str, str], text: str) -> Layout:
    """Read a `[collection]` table; `types` are the types of the metadata fields by name.

    Raises ValueError with one line that names the key and its line in `text`.
    """
    if not isinstance(table, dict):
        raise ValueError("collection must be a table, [collection]")  # noqa: TRY004  a mistake in a file
    for key, value in table.items():
        if fault := _fault(key, value, types):
            raise ValueError(f"line {_line(text, key)}: collection.{' '.join(key.split())} {fault}")
    return Layout(**table)


def _fault(key: str, value: Any, types: Mapping[str, str]) -> str:
    if key not in KEYS:
        return f"is not a key of the contract; known: {', '.join(KEYS)}"
    if key in _MOST:
        whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST[key]
        return "" if whole else f"is {value!r}; it must be a whole number from 1 to {_MOST[key]}"
    if not isinstance(value, str) or value not in types:
        fit = [name for name, kind in types.items() if kind in PARTITION_KEY_TYPES]
        return f"is {value!r}; it must be one of the [[fields]]: {', '.join(fit) or 'none of them can be one'}"
    if types[value] not in PARTITION_KEY_TYPES:
        return f"is {value}, a {types[value]}; Milvus accepts {' and '.join(PARTITION_KEY_TYPES)}"
    return ""


def _line(text: str, key: str) -> int:
    """Return the line of a key of the table, 1-based, or the table's own line if the key is not found."""
    table = 1
    is_inside = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line):
            is_inside = header[1].strip("\"'") == "collection"
            table = number if is_inside else table
        elif re.match(rf"\s*(collection\s*\.\s*)?[\"']?{re.escape(key)}[\"']?\s*=", line) and (
            is_inside or line.lstrip().startswith("collection")
        ):
            return number
        elif re.match(r"\s*collection\s*=", line):
            table = number
    return table
