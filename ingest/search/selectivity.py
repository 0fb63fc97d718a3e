"""Filters drawn from a collection's own fields, each of which lets through about a wanted share of the products."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.search import filters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.records import Scalar

_OF_A_KIND = 2  # filters for each share that ask for a value, and as many that bound a number
_FEW = 1000  # different texts, which cost nothing to count
_NEAR = 2.0
"""A filter stands for a share if its own is at most so many times larger or smaller."""


@dataclass(frozen=True, slots=True)
class DrawnFilter:
    """A filter: `share` is the wanted one, of 1; `rows` are the numbers, (n,), of the products that it lets through."""

    share: float
    expression: str
    rows: NDArray[np.int64]


def is_useful(column: Sequence[Scalar | None]) -> bool:
    """Return whether filters can be drawn from a field's values: not from texts that nearly all differ."""
    texts = {value for value in column if isinstance(value, str)}
    return len(texts) <= max(_FEW, len(column) // 2)


def draw(
    columns: Mapping[str, Sequence[Scalar | None]], shares: Sequence[float], missing: Mapping[str, float | None]
) -> list[DrawnFilter]:
    """Return filters for each share: `category == "mugs"`, whose products are alike, and `price < 12.5`, spread out.

    `columns` holds each field's values, a product each, in the same order, None for one that is missing. `missing` is
    the contract's: a number that stands for a missing one is left out. The same columns give the same filters; none
    are drawn for a share that no field comes near.
    """
    return [
        drawn
        for share in shares
        for candidates in (_values(columns, share), _bounds(columns, share, missing))
        for drawn in _nearest(share, candidates)
    ]


def _nearest(share: float, candidates: Iterator[tuple[str, NDArray[np.bool_]]]) -> list[DrawnFilter]:
    found = []
    for expression, matching in candidates:
        own = float(matching.mean()) if len(matching) else 0.0
        if 0 < own < 1 and max(own / share, share / own) <= _NEAR:
            found.append((abs(math.log(own / share)), expression, np.flatnonzero(matching)))
    found.sort(key=lambda one: one[:2])
    return [DrawnFilter(share, expression, rows) for _, expression, rows in found[:_OF_A_KIND]]


def _values(columns: Mapping[str, Sequence[Scalar | None]], share: float) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield the filters for one value of a text, whole number or flag, the nearest to the share of each field."""
    for name, column in columns.items():
        counts = Counter(value for value in column if _can_be_written(value))
        wanted = share * len(column)
        nearest = sorted(counts, key=lambda value: (abs(math.log(counts[value] / wanted)), str(value)))[:_OF_A_KIND]
        for value in nearest:
            matching = np.fromiter(
                (type(other) is type(value) and other == value for other in column), bool, len(column)
            )
            yield f"{filters.quote_field(name)} == {json.dumps(value, ensure_ascii=False)}", matching


def _bounds(
    columns: Mapping[str, Sequence[Scalar | None]], share: float, missing: Mapping[str, float | None]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield a filter for each field of numbers: those below the value that the share of them are below."""
    for name, column in columns.items():
        if not any(isinstance(value, float) for value in column):
            continue
        numbers = np.array([math.nan if value is None else value for value in column], np.float64)
        known = np.sort(numbers[np.isfinite(numbers)])
        if not len(known):
            continue
        bound = float(known[min(round(share * len(column)), len(known) - 1)])
        if "e" not in repr(bound):
            instead = missing.get(name)
            known_only = "" if instead is None else f" and {filters.quote_field(name)} != {instead!r}"
            yield f"{filters.quote_field(name)} < {bound!r}{known_only}", numbers < bound


def _can_be_written(value: Scalar | None) -> bool:
    """Tell whether every Milvus reads this value in a filter as it is meant; floats are for bounds."""
    if isinstance(value, str):
        return value != "" and value.isprintable() and not set(value) & set("\"'\\")
    return isinstance(value, int)
