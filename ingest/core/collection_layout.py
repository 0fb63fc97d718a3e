"""How a collection lies in a cluster: the `[collection]` table of the contract, read and checked."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

KEYS = ("shards", "replicas", "partition_key")
PARTITION_KEY_TYPES = ("VARCHAR", "INT64")
"""What Milvus takes as a partition key (https://milvus.io/docs/use-partition-key.md)."""
_MOST = {
    "shards": 64,
    "replicas": 1024,
}  # beyond sense; a server refuses what is too many for it (16 shards, unless told)


@dataclass(frozen=True, slots=True)
class Layout:
    """`shards` and `partition_key` are for good, `replicas` for when the collection is loaded next.

    0 and "" leave it to the server: one shard, one replica, no partition key.
    """

    shards: int = 0
    replicas: int = 0
    partition_key: str = ""

    @property
    def lasting(self) -> dict[str, Any]:
        """What cannot be changed while the collection stays, where it says anything."""
        lasting = {"shards": self.shards, "partition_key": self.partition_key}
        return {key: value for key, value in lasting.items() if value}


NONE = Layout()


def read(table: object, types: Mapping[str, str], text: str) -> Layout:
    """Return what a `[collection]` table says; `types` is the type of each metadata field by name.

    Raises ValueError, one line that names the key and its line in `text`.
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
        return "" if whole else f"is {value!r}; a whole number from 1 to {_MOST[key]} is needed"
    if not isinstance(value, str) or value not in types:
        fit = [name for name, kind in types.items() if kind in PARTITION_KEY_TYPES]
        return f"is {value!r}; it is one of the [[fields]]: {', '.join(fit) or 'of which none would do'}"
    if types[value] not in PARTITION_KEY_TYPES:
        return f"is {value}, a {types[value]}; Milvus takes {' and '.join(PARTITION_KEY_TYPES)}"
    return ""


def _line(text: str, key: str) -> int:
    """Return the line on which a key of the table stands, 1-based; that of the table where it is written otherwise."""
    table = 1
    here = False
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([^\]]*?)\s*\]", line):
            here = header[1].strip("\"'") == "collection"
            table = number if here else table
        elif re.match(rf"\s*(collection\s*\.\s*)?[\"']?{re.escape(key)}[\"']?\s*=", line) and (
            here or line.lstrip().startswith("collection")
        ):
            return number
        elif re.match(r"\s*collection\s*=", line):
            table = number
    return table
