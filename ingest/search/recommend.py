"""Recommends products similar to one product or to a basket, from the collection."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import QueryError
from ingest.milvus import filters
from ingest.search.query import combine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.records import Scalar
    from ingest.search.backend import Hit
    from ingest.search.milvus_backend import SearchableCollection, StoredProduct

_POOL_FACTOR, _MIN_POOL, _MAX_POOL = 5, 50, 1000
"""Candidates for each product to choose, unless the nearest are simply taken; at least, and at most."""
_MISSING = -1e9
"""The worth of a missing candidate: less than any other's, more than that of one already chosen."""


@dataclass(frozen=True, slots=True)
class RecommendOptions:
    """What to recommend.

    `balance` is None for the nearest products, else lambda of maximal marginal relevance: 1 counts only similarity, 0
    only diversity. `same` and `other` name fields whose values must equal those of the given products, or differ.
    """

    limit: int = 10
    balance: float | None = None
    same: str = ""
    other: str = ""
    expression: str = ""

    @property
    def pool(self) -> int:
        """How many candidates to choose from."""
        if self.balance is None:
            return self.limit
        return min(max(_POOL_FACTOR * self.limit, _MIN_POOL), max(_MAX_POOL, self.limit))


def like(served: SearchableCollection, product_ids: Sequence[str], options: RecommendOptions) -> list[Hit]:
    """Return products like one, or like the mean of several, best first.

    The given products are left out, and those that share an image with them. Raises QueryError for a product that is
    missing, or that has no value for `same` or `other`.
    """
    basket = served.products(product_ids)
    mean = combine([(product.vector, 1.0) for product in basket.values()])
    images = {product.image_sha256 for product in basket.values()}
    expression = filters.all_of(options.expression, *_rules(served, basket, options))
    [hits] = served.searches([mean], options.pool, expression, product_ids, images)
    if options.balance is None or not hits:
        return hits
    found = served.vectors([hit.product_id for hit in hits])
    rows = np.stack([found[hit.product_id] for hit in hits])
    scores = np.array([[hit.score for hit in hits]], np.float32)
    chosen = diverse(scores, rows[None], options.limit, options.balance)[0]
    return [hits[number] for number in sorted(chosen)]


def diverse(scores: NDArray[np.float32], rows: NDArray[np.float32], limit: int, balance: float) -> NDArray[np.int64]:
    """Choose by maximal marginal relevance; return candidate numbers, (n, limit or fewer), in the order chosen.

    Each of n queries has m candidates: `scores` is (n, m), -inf if there is none, `rows` (n, m, dim) their unit
    vectors. The next choice has the largest λ·score − (1 − λ)·(similarity to the most similar one chosen before)
    (Carbonell and Goldstein, SIGIR 1998). A missing candidate is chosen only if no other is left.
    """
    queries, candidates = scores.shape
    every = np.arange(queries)
    exists = np.isfinite(scores)
    relevance = balance * np.where(exists, scores, 0)
    similarity = np.full((queries, candidates), -1, np.float32)
    chosen = np.zeros((queries, min(limit, candidates)), np.int64)
    is_chosen = np.zeros((queries, candidates), bool)
    for rank in range(chosen.shape[1]):
        worth = np.where(exists, relevance - (1 - balance) * similarity, _MISSING)
        worth[is_chosen] = -np.inf
        chosen[:, rank] = best = np.argmax(worth, axis=1)
        is_chosen[every, best] = True
        similarity = np.maximum(similarity, np.matmul(rows, rows[every, best][:, :, None])[:, :, 0])
    return chosen


def _rules(
    served: SearchableCollection, basket: Mapping[str, StoredProduct], options: RecommendOptions
) -> Iterator[str]:
    """Yield filters for the fields whose values must equal those of the basket, or differ."""
    if options.same:
        yield filters.among(filters.field(options.same, served.fields), _values(served, basket, options.same))
    if options.other:
        yield filters.not_among(filters.field(options.other, served.fields), _values(served, basket, options.other))


def _values(served: SearchableCollection, basket: Mapping[str, StoredProduct], field: str) -> list[Scalar]:
    values: dict[tuple[type, Scalar], Scalar] = {}  # True equals 1
    for product in basket.values():
        value = product.metadata.get(field)
        if value in (None, ""):
            fields = ", ".join(served.fields)
            known = "" if field in served.fields else f"{filters.suggest(field, served.fields)}; fields: {fields}"
            raise QueryError(f"product {product.product_id} has no {field}{known}")
        assert value is not None
        values[type(value), value] = value
    return list(values.values())
