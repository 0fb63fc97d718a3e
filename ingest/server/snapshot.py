"""The whole collection read once: counts, what filters can be made of, shared pictures, and a map of it."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core import missing_numbers
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.filters import among
from ingest.milvus.pages import pages

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ingest.core.records import Scalar
    from ingest.milvus.connection import Connection

MAX_VALUES = 40
"""More different values than this are not offered as a list."""
MAX_POINTS = 5_000
"""Products on the map; of a larger catalog, as many at random."""
MAX_GROUPS, MAX_MEMBERS = 100, 24
_NUMBERS = ("INT64", "FLOAT", "DOUBLE")
_VECTOR_ROWS = 500


@dataclass(frozen=True, slots=True)
class Facet:
    """What a field can be filtered by: `values` with their rows, the most frequent first, or a range of numbers.

    `missing_numbers` is the number that stands for a missing one, which a filter for a range must leave out; None for
    none.
    """

    name: str
    type: str
    values: list[tuple[Scalar, int]]
    low: float | None
    high: float | None
    missing: float | None = None


@dataclass(frozen=True, slots=True)
class SharedImage:
    """A picture that several products share: how many, and the first of them."""

    products: int
    product_ids: list[str]


@dataclass(frozen=True, slots=True)
class Plane:
    """Products on a plane: `x` and `y` in −1 to 1, `fields` a column each. `explained` is the variance kept, 0 to 1."""

    product_ids: list[str]
    x: list[float]
    y: list[float]
    fields: Mapping[str, list[Scalar | None]]
    explained: float


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What one reading found; `pictures` counts different ones."""

    rows: int
    pictures: int
    facets: list[Facet]
    shared: list[SharedImage]
    sharing: int
    plane: Plane


def take(connection: Connection, name: str, contract: Mapping[str, Any]) -> Snapshot:
    """Read the collection `name`, whose contract is what its property says; raises MilvusError."""
    kinds: dict[str, str] = contract["fields"]
    instead = contract.get("missing", {})
    ids: list[str] = []
    columns: dict[str, list[Any]] = {field: [] for field in kinds}
    pictures: dict[str, list[int]] = defaultdict(list)
    for rows in pages(connection, name, [PRIMARY_KEY, IMAGE_SHA256, *kinds], "Strong"):
        for row in rows:
            pictures[row[IMAGE_SHA256]].append(len(ids))
            ids.append(row[PRIMARY_KEY])
            for field, column in columns.items():
                column.append(missing_numbers.from_stored(row.get(field), field, instead))
    facets = [_facet(field, kind, columns[field], instead.get(field)) for field, kind in kinds.items()]
    groups = sorted((group for group in pictures.values() if len(group) > 1), key=len, reverse=True)
    return Snapshot(
        rows=len(ids),
        pictures=len(pictures),
        facets=facets,
        shared=[SharedImage(len(group), [ids[at] for at in group[:MAX_MEMBERS]]) for group in groups[:MAX_GROUPS]],
        sharing=sum(map(len, groups)),
        plane=_plane(connection, name, contract["vector_field"], ids, columns, facets),
    )


def _facet(name: str, kind: str, column: list[Any], instead: float | None = None) -> Facet:
    if kind in _NUMBERS:
        known = [value for value in column if value is not None and math.isfinite(value)]
        return Facet(name, kind, [], min(known, default=None), max(known, default=None), instead)
    counts = Counter(value for value in column if value not in (None, ""))
    few = 0 < len(counts) <= MAX_VALUES and (kind == "BOOL" or len(counts) < max(2, len(column)))
    return Facet(name, kind, counts.most_common() if few else [], None, None)


def _plane(
    connection: Connection, name: str, vector_field: str, ids: list[str], columns: Mapping[str, list[Any]],
    facets: list[Facet],
) -> Plane:  # fmt: skip
    chosen = np.arange(len(ids))
    if len(ids) > MAX_POINTS:
        chosen = np.sort(np.random.default_rng(0).choice(len(ids), MAX_POINTS, replace=False))
    vectors: dict[str, Any] = {}
    for start in range(0, len(chosen), _VECTOR_ROWS):
        wanted = [ids[at] for at in chosen[start : start + _VECTOR_ROWS]]
        rows = connection.call(
            "read vectors", connection.client.query, name, filter=among(PRIMARY_KEY, wanted),
            output_fields=[PRIMARY_KEY, vector_field], timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        vectors.update((row[PRIMARY_KEY], row[vector_field]) for row in rows)
    at = [int(index) for index in chosen if ids[index] in vectors]  # a row may have been deleted meanwhile
    places, explained = project(np.asarray([vectors[ids[index]] for index in at], np.float32))
    shown = [facet.name for facet in facets if facet.values or facet.low is not None]
    shown += ["title"] if "title" in columns and "title" not in shown else []
    return Plane(
        product_ids=[ids[index] for index in at],
        x=[round(float(value), 4) for value in places[:, 0]],
        y=[round(float(value), 4) for value in places[:, 1]],
        fields={field: [columns[field][index] for index in at] for field in shown},
        explained=round(explained, 4),
    )


def project(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the two principal components of (n, dim) float32, scaled into −1 to 1, and the variance they keep."""
    if len(vectors) < 3:
        line = np.linspace(-0.5, 0.5, len(vectors), dtype=np.float32)
        return np.stack([line, np.zeros_like(line)], axis=1), 1.0
    wide = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(wide.T @ wide)
    two = axes[:, ::-1][:, :2]
    two *= np.where(two.sum(axis=0) < 0, -1.0, 1.0)  # an axis has no sign of its own: the same map each time
    places = wide @ two
    total = float(variances.sum())
    kept = float(variances[-2:].sum()) / total if total > 0 else 1.0
    return (places / max(float(np.abs(places).max()), 1e-12)).astype(np.float32), min(max(kept, 0.0), 1.0)
