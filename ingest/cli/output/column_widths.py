"""The widths of a table's columns in a terminal: what comes first stays whole, the rest shares what is left."""

from __future__ import annotations

from typing import NamedTuple

GAP = 2
"""Spaces between two columns."""


class Column(NamedTuple):
    """A column's name, the width that shows every cell whole, and the least that is of use."""

    name: str
    natural: int
    least: int


def fit(columns: list[Column], width: int) -> tuple[list[int], list[str]]:
    """Return the widths of the first columns, as many as fit into `width`, and the names of the others.

    The widest are cut first, and none below its least. One column is always kept, whatever its width.
    """
    shown = list(columns)
    while len(shown) > 1 and _total([column.least for column in shown]) > width:
        shown.pop()
    widths = [column.natural for column in shown]
    while _total(widths) > width:
        cuttable = [at for at, column in enumerate(shown) if widths[at] > column.least]
        if not cuttable:
            break
        widths[max(cuttable, key=widths.__getitem__)] -= 1
    return widths, [column.name for column in columns[len(shown) :]]


def _total(widths: list[int]) -> int:
    return sum(widths) + GAP * (len(widths) - 1)
