"""Reads the whole collection: counts, facets, shared images, and a map of the products."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter, defaultdict
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from anyio import to_thread

from ingest.core import missing_numbers
from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY
from ingest.milvus.connection import CALL_TIMEOUT_S
from ingest.milvus.filters import among
from ingest.milvus.pages import pages
from ingest.server.schemas import Facet, FacetValue, Map, SharedImage

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from ingest.milvus.connection import Connection
    from ingest.search.milvus_backend import SearchableCollection

log = logging.getLogger(__name__)

MAX_VALUES = 40
"""A field with more different values has no list of them."""
MAX_POINTS = 5_000
"""Maximum products on the map, a random sample of a larger catalog."""
MAX_GROUPS, MAX_MEMBERS = 100, 24
"""Maximum groups of products that share an image, and products listed in each."""
MAX_AGE_S = 300.0
"""Age at which a snapshot is taken again."""
_NUMBERS = ("INT64", "FLOAT", "DOUBLE")
_VECTOR_ROWS = 500


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The collection at one moment; `images` counts different ones, `sharing` the products that share one."""

    collection: str
    rows: int
    images: int
    facets: list[Facet]
    shared: list[SharedImage]
    sharing: int
    plane: Map


class SnapshotCache:
    """The latest snapshot, taken again in the background when it is old or the alias switched. For one event loop."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._latest: Snapshot | None = None
        self._taken_at = 0.0
        self._task: asyncio.Task[Snapshot] | None = None

    async def get(self, collection: SearchableCollection) -> Snapshot:
        """Return the latest snapshot, the previous one while the next is being taken.

        The first one of a collection is waited for; raises MilvusError if it cannot be taken.
        """
        latest = self._latest if self._latest is not None and self._latest.collection == collection.name else None
        is_old = latest is None or time.monotonic() - self._taken_at > MAX_AGE_S
        if is_old and self._task is None:
            self._task = asyncio.create_task(self._take(collection))
            self._task.add_done_callback(self._finish)
        if latest is not None:
            return latest
        assert self._task is not None
        return await asyncio.shield(self._task)

    async def close(self) -> None:
        """Cancel the snapshot that is being taken."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await self._task

    async def _take(self, collection: SearchableCollection) -> Snapshot:
        self._latest = await to_thread.run_sync(take, self._connection, collection.name, collection.contract)
        self._taken_at = time.monotonic()
        return self._latest

    def _finish(self, task: asyncio.Task[Snapshot]) -> None:
        self._task = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("could not read the collection: %s", error)


def take(connection: Connection, name: str, contract: Mapping[str, Any]) -> Snapshot:
    """Read the collection `name`, which has this contract; raises MilvusError."""
    types: dict[str, str] = contract["fields"]
    missing = contract.get("missing", {})
    ids: list[str] = []
    columns: dict[str, list[Any]] = {field: [] for field in types}
    rows_by_image: dict[str, list[int]] = defaultdict(list)
    for rows in pages(connection, name, [PRIMARY_KEY, IMAGE_SHA256, *types], "Strong"):
        for row in rows:
            rows_by_image[row[IMAGE_SHA256]].append(len(ids))
            ids.append(row[PRIMARY_KEY])
            for field, column in columns.items():
                column.append(missing_numbers.from_stored(row.get(field), field, missing))
    facets = [_facet(field, kind, columns[field], missing.get(field)) for field, kind in types.items()]
    groups = sorted((group for group in rows_by_image.values() if len(group) > 1), key=len, reverse=True)
    return Snapshot(
        collection=name,
        rows=len(ids),
        images=len(rows_by_image),
        facets=facets,
        shared=[
            SharedImage(products=len(group), product_ids=[ids[at] for at in group[:MAX_MEMBERS]])
            for group in groups[:MAX_GROUPS]
        ],
        sharing=sum(map(len, groups)),
        plane=_map(connection, name, contract["vector_field"], ids, columns, facets),
    )


def _facet(name: str, kind: str, column: list[Any], missing: float | None = None) -> Facet:
    if kind in _NUMBERS:
        known = [value for value in column if value is not None and math.isfinite(value)]
        low, high = min(known, default=None), max(known, default=None)
        return Facet(name=name, type=kind, low=low, high=high, missing=missing, values=[])
    counts = Counter(value for value in column if value not in (None, ""))
    few = 0 < len(counts) <= MAX_VALUES and (kind == "BOOL" or len(counts) < max(2, len(column)))
    values = [FacetValue(value=value, rows=rows) for value, rows in counts.most_common()] if few else []
    return Facet(name=name, type=kind, low=None, high=None, missing=None, values=values)


def _map(
    connection: Connection, name: str, vector_field: str, ids: list[str], columns: Mapping[str, list[Any]],
    facets: list[Facet],
) -> Map:  # fmt: skip
    chosen = np.arange(len(ids))
    if len(ids) > MAX_POINTS:
        chosen = np.sort(np.random.default_rng(0).choice(len(ids), MAX_POINTS, replace=False))
    vectors = _read_vectors(connection, name, vector_field, [ids[index] for index in chosen])
    at = [int(index) for index in chosen if ids[index] in vectors]  # rows may have been deleted meanwhile
    places, explained = project(np.asarray([vectors[ids[index]] for index in at], np.float32))
    shown = [facet.name for facet in facets if facet.values or facet.low is not None]
    shown += ["title"] if "title" in columns and "title" not in shown else []
    return Map(
        product_ids=[ids[index] for index in at],
        x=[round(float(value), 4) for value in places[:, 0]],
        y=[round(float(value), 4) for value in places[:, 1]],
        fields={field: [columns[field][index] for index in at] for field in shown},
        explained=round(explained, 4),
    )


def _read_vectors(connection: Connection, name: str, vector_field: str, ids: list[str]) -> dict[str, Any]:
    vectors: dict[str, Any] = {}
    for start in range(0, len(ids), _VECTOR_ROWS):
        rows = connection.call(
            "read vectors", connection.client.query, name,
            filter=among(PRIMARY_KEY, ids[start : start + _VECTOR_ROWS]),
            output_fields=[PRIMARY_KEY, vector_field], timeout=CALL_TIMEOUT_S,
        )  # fmt: skip
        vectors.update((row[PRIMARY_KEY], row[vector_field]) for row in rows)
    return vectors


def project(vectors: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Return the two principal components of (n, dim) float32, scaled into −1 to 1, and the variance they keep."""
    if len(vectors) < 3:
        line = np.linspace(-0.5, 0.5, len(vectors), dtype=np.float32)
        return np.stack([line, np.zeros_like(line)], axis=1), 1.0
    wide = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    variances, axes = np.linalg.eigh(wide.T @ wide)
    two = axes[:, ::-1][:, :2]
    two *= np.where(two.sum(axis=0) < 0, -1.0, 1.0)  # an axis has no sign: the same map each time
    places = wide @ two
    total = float(variances.sum())
    kept = float(variances[-2:].sum()) / total if total > 0 else 1.0
    return (places / max(float(np.abs(places).max()), 1e-12)).astype(np.float32), min(max(kept, 0.0), 1.0)
