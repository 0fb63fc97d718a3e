"""Products like one product or a basket, and the neighbours of all products at once by the FAISS files."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ExportError, QueryError
from ingest.exports import faiss_index
from ingest.runtime.atomic_files import atomic_write
from ingest.search import filters
from ingest.search.query import combine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.records import Scalar
    from ingest.exports.faiss_index import FaissIndex
    from ingest.search.milvus_backend import Hit, SearchableCollection, StoredProduct

_POOL, _LEAST_POOL, _LARGEST_POOL = 5, 50, 1000
"""Candidates for each product wanted, where the best are not simply taken."""
_BATCH = 1024  # products searched for together
_NEVER = 1e9  # worth less than any candidate that is there, and more than one that was chosen
_PRODUCTS = 1 << 24  # inner products held at once where everything is compared


@dataclass(frozen=True, slots=True)
class RecommendOptions:
    """What to recommend.

    `balance` is None for the nearest, else lambda of maximal marginal relevance: 1 looks at likeness alone, 0 at
    difference alone. `same` and `other` name fields in which a product must equal those asked for, or differ.
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
        return min(max(_POOL * self.limit, _LEAST_POOL), max(_LARGEST_POOL, self.limit))


def like(served: SearchableCollection, product_ids: Sequence[str], options: RecommendOptions) -> list[Hit]:
    """Return products like one, or like the middle of several: best first, or in the order they were chosen in.

    These themselves are left out, and those that share a picture with them. Raises QueryError for a product that is
    not there, or one without a value for `same` or `other`.
    """
    basket = served.products(product_ids)
    middle = combine([(product.vector, 1.0) for product in basket.values()])
    pictures = {product.image_sha256 for product in basket.values()}
    expression = filters.all_of(
        options.expression,
        filters.among(filters.quote_field(options.same), _values(served, basket, options.same)) if options.same else "",
        filters.not_among(filters.quote_field(options.other), _values(served, basket, options.other))
        if options.other
        else "",
    )
    [hits] = served.searches([middle], options.pool, expression, product_ids, pictures)
    if options.balance is None or not hits:
        return hits
    found = served.vectors([hit.product_id for hit in hits])
    rows = np.stack([found[hit.product_id] for hit in hits])
    scores = np.array([[hit.score for hit in hits]], np.float32)
    return [hits[number] for number in diverse(scores, rows[None], options.limit, options.balance)[0]]


def diverse(scores: NDArray[np.float32], rows: NDArray[np.float32], limit: int, balance: float) -> NDArray[np.int64]:
    """Choose by maximal marginal relevance; return which, (n, limit or fewer), in the order chosen.

    For each of n queries there are m candidates: `scores` is (n, m), -inf for none there, `rows` (n, m, dim) their
    unit vectors. The next one has the largest λ·score − (1 − λ)·(its likeness to the most alike chosen before)
    (Carbonell and Goldstein, SIGIR 1998). One that is not there is chosen only when no other is left.
    """
    queries, candidates = scores.shape
    every = np.arange(queries)
    there = np.isfinite(scores)
    relevance = balance * np.where(there, scores, 0)
    likest = np.full((queries, candidates), -1, np.float32)
    chosen = np.zeros((queries, min(limit, candidates)), np.int64)
    taken = np.zeros((queries, candidates), bool)
    for place in range(chosen.shape[1]):
        worth = np.where(there, relevance - (1 - balance) * likest, -_NEVER)
        worth[taken] = -np.inf
        chosen[:, place] = best = np.argmax(worth, axis=1)
        taken[every, best] = True
        likest = np.maximum(likest, np.matmul(rows, rows[every, best][:, :, None])[:, :, 0])
    return chosen


def all_neighbours(
    index: FaissIndex, options: RecommendOptions, ef: int, labels: Mapping[str, Mapping[str, Scalar | None]]
) -> Neighbours:
    """Return what finds the neighbours of all products in an index.

    `labels` holds, for the fields `same` and `other` of the wish, each product's value by id. Raises QueryError
    where they are not known of any product.
    """
    codes = {}
    for name in filter(None, (options.same, options.other)):
        values = [labels[name].get(product_id) for product_id in index.names]
        if all(value in (None, "") for value in values):
            raise QueryError(f"no product has a value for {name}; name a field of the collection")
        numbers: dict[Scalar | None, int] = {}
        codes[name] = np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
    return Neighbours(index, options, ef, codes.get(options.same), codes.get(options.other))


class Neighbours:
    """All products' neighbours, a batch at a time.

    Rows with equal vectors have one picture (the store keeps one vector for each), and are no neighbours. `same` and
    `other` number the values that must be equal or differ. Where the index finds too few, everything is compared.
    """

    def __init__(
        self,
        index: FaissIndex,
        options: RecommendOptions,
        ef: int,
        same: NDArray[np.int64] | None,
        other: NDArray[np.int64] | None,
    ) -> None:
        self._index = index
        self._wish = options
        self._ef = ef
        self._same, self._other = same, other
        self._pictures = _numbered(index.rows)
        rules = same is not None or other is not None
        self._asked = min(len(index.names), options.pool * (4 if rules else 1) + 4)  # some of them will not do

    def batches(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield row numbers, (n,), their neighbours' row numbers, (n, limit), -1 for want of more, and scores."""
        rows = self._index.rows
        for start in range(0, len(rows), _BATCH):
            asked = np.arange(start, min(start + _BATCH, len(rows)))
            scores, found = self._index.nearest(rows[asked], self._asked, self._ef)
            scores, found = _first(scores, found, self._allowed(asked, found), self._wish.pool)
            short = np.flatnonzero((found < 0).any(axis=1))
            per_block = max(1, _PRODUCTS // len(rows))
            for first in range(0, len(short), per_block):
                some = short[first : first + per_block]
                scores[some], found[some] = self._compared(asked[some])
            yield asked, *self._chosen(scores, found)

    def _allowed(self, asked: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.bool_]:
        allowed: NDArray[np.bool_] = (found >= 0) & (self._pictures[found] != self._pictures[asked][:, None])
        if self._same is not None:
            allowed &= self._same[found] == self._same[asked][:, None]
        if self._other is not None:
            allowed &= self._other[found] != self._other[asked][:, None]
        return allowed

    def _compared(self, asked: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = self._index.rows
        scores = rows[asked] @ rows.T
        every = np.broadcast_to(np.arange(len(rows)), scores.shape)
        scores[~self._allowed(asked, every)] = -np.inf
        pool = min(self._wish.pool, len(rows))
        best = np.argpartition(scores, -pool, axis=1)[:, -pool:]
        best_scores = np.take_along_axis(scores, best, axis=1)
        best[~np.isfinite(best_scores)] = -1
        return _first(best_scores, best, best >= 0, self._wish.pool)

    def _chosen(
        self, scores: NDArray[np.float32], found: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if self._wish.balance is None:
            return found, scores
        there = np.where(found >= 0, scores, -np.inf).astype(np.float32)
        picks = [
            diverse(there[at : at + 64], self._index.rows[found[at : at + 64]], self._wish.limit, self._wish.balance)
            for at in range(0, len(found), 64)  # their vectors are gathered, 64 × 50 × 512 × 4 bytes
        ]
        pick = np.concatenate(picks)
        return np.take_along_axis(found, pick, axis=1), np.take_along_axis(scores, pick, axis=1)


@dataclass(frozen=True, slots=True)
class WrittenNeighbours:
    """What was written: `products` with neighbours, `rows` of them in the file, in `seconds`."""

    products: int
    rows: int
    seconds: float


def write(neighbours: Neighbours, names: Sequence[str], path: Path) -> WrittenNeighbours:
    """Write product_id, rank, other_id, score for every product into a .parquet or .csv, whole or not at all.

    Raises ExportError for another ending, StorageError where it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    writers = {".parquet": parquet.ParquetWriter, ".csv": csv.CSVWriter}
    if path.suffix.lower() not in writers:
        raise ExportError(f"{path}: the file's name must end in {' or '.join(writers)}")
    began = time.monotonic()
    kinds = (("product_id", pa.string()), ("rank", pa.int32()), ("other_id", pa.string()), ("score", pa.float32()))
    known = pa.array(names, pa.string())
    products = rows = 0
    with atomic_write(path) as file, writers[path.suffix.lower()](file, pa.schema(kinds)) as writer:
        for asked, found, scores in neighbours.batches():
            there = found >= 0
            ranks = np.broadcast_to(np.arange(1, found.shape[1] + 1, dtype=np.int32), found.shape)
            columns: list[Any] = [
                known.take(pa.array(np.repeat(asked, there.sum(axis=1)))),
                pa.array(ranks[there]),
                known.take(pa.array(found[there])),
                pa.array(scores[there].astype(np.float32)),
            ]
            writer.write_table(pa.table(columns, pa.schema(kinds)))
            products += int(there.any(axis=1).sum())
            rows += int(there.sum())
    return WrittenNeighbours(products, rows, time.monotonic() - began)


def open_index(folder: Path, dim: int) -> FaissIndex:
    """Load the FAISS files in `folder`; raises ExportError where they are missing, torn, or hold nothing."""
    return faiss_index.open_index(folder, dim)


def _values(served: SearchableCollection, basket: Mapping[str, StoredProduct], field: str) -> list[Scalar]:
    values = []
    for product in basket.values():
        value = product.metadata.get(field)
        if value in (None, ""):
            fields = ", ".join(served.fields)
            known = "" if field in served.fields else f"{filters.suggest(field, served.fields)}; fields: {fields}"
            raise QueryError(f"product {product.product_id} has no {field}{known}")
        assert value is not None
        values.append(value)
    return list(dict.fromkeys(values))


def _numbered(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Give rows that are equal bit for bit the same number."""
    numbers: dict[bytes, int] = {}
    sums = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    return np.fromiter((numbers.setdefault(one, len(numbers)) for one in sums), np.int64, len(rows))


def _first(
    scores: NDArray[np.float32], found: NDArray[np.int64], allowed: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Keep the `count` best of the allowed in each row, (n, count), filled up with -1 and -inf."""
    sortable = np.where(allowed, scores, -np.inf)
    order = np.argsort(-sortable, axis=1, kind="stable")[:, :count]
    best = np.take_along_axis(sortable, order, axis=1).astype(np.float32)
    rows = np.where(np.isfinite(best), np.take_along_axis(found, order, axis=1), -1)
    wide = count - best.shape[1]
    if wide > 0:
        best = np.pad(best, ((0, 0), (0, wide)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, wide)), constant_values=-1)
    return best, rows
