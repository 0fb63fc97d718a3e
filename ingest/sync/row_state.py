"""What decides whether a row is written again, kept or deleted: its state after a pass over the catalog."""

from __future__ import annotations

from enum import IntEnum


class RowState(IntEnum):
    """What a pass over the catalog has found about a row. Each row starts as GONE."""

    GONE = 0
    SAME = 1
    PICTURE = 2
    METADATA = 3
    BOTH = 4
    FAILED = 5
    FOREIGN = 6
    DOUBLE = 7  # has the id of an earlier row; it goes when that one is written again
