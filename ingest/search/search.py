"""Answers queries on any backend: embeds them, and searches for their vectors.

A command calls `answer_queries`. A service embeds the parts of many requests together, so it makes each query's vector
itself (`Query.vector`) and calls `search_vectors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.images.decode.sandbox import Sandbox
from ingest.search import query

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from ingest.search.backend import Hit, SearchBackend
    from ingest.search.query import Query, QueryModel


def answer_queries(backend: SearchBackend, model: QueryModel, queries: Sequence[Query]) -> list[list[Hit]]:
    """Return the hits for each query, in order.

    Raises QueryError, and ModelError if something must be embedded and the model does not match the backend.
    """
    if any(one.needs_model for one in queries):
        backend.check(model.space)
    with Sandbox() as sandbox:
        vectors = query.vectors(queries, model, backend.vectors, sandbox)
    return search_vectors(backend, queries, vectors)


def search_vectors(
    backend: SearchBackend, queries: Sequence[Query], vectors: Sequence[NDArray[np.float32]]
) -> list[list[Hit]]:
    """Return the hits for each query, in order, given its unit vector, (dim,) float32.

    A query's product is left out of its own hits. Queries that differ only in their vector are sent in one call.
    """
    groups: dict[tuple[str, int, str], list[int]] = {}
    for number, one in enumerate(queries):
        groups.setdefault((one.expression, one.limit, one.product_id), []).append(number)
    hits: list[list[Hit]] = [[] for _ in queries]
    for (expression, limit, product_id), numbers in groups.items():
        without = [product_id] if product_id else []
        found = backend.searches([vectors[number] for number in numbers], limit, expression, without)
        for number, some in zip(numbers, found, strict=True):
            hits[number] = some
    return hits
