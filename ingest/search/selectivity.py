"""Draws filters from a collection's own fields, each of which matches about a wanted share of the products."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.milvus import filters

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.records import Scalar

_PER_KIND = 2  # filters for each share that compare with a value, and as many that bound a number
_FEW = 1000  # different texts, which cost nothing to count
_MAX_RATIO = 2.0
"""A filter represents a share if its own is at most so many times larger or smaller."""


@dataclass(frozen=True, slots=True)
class DrawnFilter:
    """A filter: `share`, 0 to 1, is the wanted one; `rows`, (n,), are the numbers of the products that it matches."""

    share: float
    expression: str
    rows: NDArray[np.int64]


def is_useful(column: Sequence[Scalar | None]) -> bool:
    """Return whether filters can be drawn from a field's values: not if they are texts that nearly all differ."""
    texts = {value for value in column if isinstance(value, str)}
    return len(texts) <= max(_FEW, len(column) // 2)


def draw(
    columns: Mapping[str, Sequence[Scalar | None]], shares: Sequence[float], missing: Mapping[str, float | None]
) -> list[DrawnFilter]:
    """Return filters for each share, such as `category == "mugs"`, which matches similar products, and `price < 12.5`.

    `columns` has each field's values, one a product in the same order, None for a missing one. `missing` is the
    contract's: the filters leave out a number that stands for a missing one. The same columns give the same filters.
    A share that no field comes near has none.
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
        if 0 < own < 1 and max(own / share, share / own) <= _MAX_RATIO:
            found.append((abs(math.log(own / share)), expression, np.flatnonzero(matching)))
    found.sort(key=lambda one: one[:2])
    return [DrawnFilter(share, expression, rows) for _, expression, rows in found[:_PER_KIND]]


def _values(columns: Mapping[str, Sequence[Scalar | None]], share: float) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield for each field of texts, integers or flags the filters `field == value` that come nearest to the share."""
    for name, column in columns.items():
        counts = Counter(value for value in column if value is not None and _can_be_written(value))
        wanted = share * len(column)
        nearest = sorted(counts, key=lambda value: (abs(math.log(counts[value] / wanted)), str(value)))[:_PER_KIND]
        for value in nearest:
            matching = np.fromiter(
                (type(other) is type(value) and other == value for other in column), bool, len(column)
            )
            yield f"{name} == {filters.literal(value)}", matching


def _bounds(
    columns: Mapping[str, Sequence[Scalar | None]], share: float, missing: Mapping[str, float | None]
) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Yield for each field of numbers the filter `field < bound` that matches the share."""
    for name, column in columns.items():
        if not any(isinstance(value, float) for value in column):
            continue
        numbers = np.array([math.nan if value is None else value for value in column], np.float64)
        known = np.sort(numbers[np.isfinite(numbers)])
        if not len(known):
            continue
        bound = float(known[min(round(share * len(column)), len(known) - 1)])
        if "e" not in repr(bound):
            stand_in = missing.get(name)
            known_only = "" if stand_in is None else f" and {name} != {stand_in!r}"
            yield f"{name} < {bound!r}{known_only}", numbers < bound


def _can_be_written(value: Scalar) -> bool:
    """Return whether every Milvus reads this value in a filter as it is meant; floats are only for bounds."""
    if isinstance(value, str):
        return value != "" and value.isprintable() and not set(value) & set("\"'\\")
    return isinstance(value, int)
