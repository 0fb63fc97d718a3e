"""Searches for several vectors in one call, or in several if the server's answer would be too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.core.errors import MilvusError
from ingest.milvus import error_codes
from ingest.milvus.connection import CALL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.milvus.connection import Connection

_LARGEST_GRAPH = 100_000
"""Milvus Lite (3.2.2) puts at most so many rows into one segment, and so into one HNSW graph."""


def search_in_halves(
    connection: Connection, name: str, vectors: Sequence[NDArray[np.float32]], **options: Any
) -> list[Any]:
    """Return pymilvus' hits for each unit vector, (dim,) float32, as `search` does."""
    try:
        return list(search(connection, name, vectors, **options))
    except MilvusError as error:
        if len(vectors) == 1 or not error_codes.is_too_large(error.__cause__):
            raise
        middle = len(vectors) // 2
        parts = vectors[:middle], vectors[middle:]
        return [hits for part in parts for hits in search_in_halves(connection, name, part, **options)]


def search(
    connection: Connection, name: str, vectors: Sequence[NDArray[np.float32]], *,
    field: str, limit: int, expression: str, output_fields: list[str], ef: int,
) -> Any:  # fmt: skip
    """Return pymilvus' hits for each of the vectors, in one call; raises MilvusError."""
    return connection.call(
        "search", connection.client.search, name, data=list(vectors), anns_field=field, limit=limit, filter=expression,
        output_fields=output_fields, search_params={"metric_type": "IP", "params": {"ef": ef}}, timeout=CALL_TIMEOUT_S,
    )  # fmt: skip


def effective_ef(ef: int, limit: int, *, filters_late: bool) -> int:
    """Return the ef to search with: how many candidates are collected, at least `limit`.

    A server walks its graph until enough rows match. Milvus Lite, if it has a graph, collects ef rows and drops those
    that do not match (`filters_late`), so it must collect every row that it can reach.
    """
    return max(ef, limit, _LARGEST_GRAPH if filters_late else 0)
