"""The neighbours of all products at once, by the FAISS files."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.errors import ExportError, QueryError
from ingest.runtime.atomic_files import atomic_write
from ingest.search.recommend import diverse

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.core.records import Scalar
    from ingest.exports.faiss_index import FaissIndex
    from ingest.search.recommend import RecommendOptions

_BATCH = 1024  # products searched for together
_MAX_SCORES = 1 << 24  # inner products in memory at once when all products are compared
_DIVERSE_BATCH = 64  # products whose candidates' vectors are gathered at once: 64 × 50 × 512 × 4 bytes


def all_neighbours(
    index: FaissIndex, options: RecommendOptions, ef: int, labels: Mapping[str, Mapping[str, Scalar | None]]
) -> Neighbours:
    """Return a finder of the neighbours of all products in an index.

    `labels` has, for the fields `same` and `other` of the options, each product's value by id. Raises QueryError if no
    product has a value.
    """
    codes = {}
    for name in filter(None, (options.same, options.other)):
        values = [labels[name].get(product_id) for product_id in index.names]
        if all(value in (None, "") for value in values):
            raise QueryError(f"no product has a value for {name}; give another field of the collection")
        numbers: dict[Scalar | None, int] = {}
        codes[name] = np.array([numbers.setdefault(value, len(numbers)) for value in values], np.int64)
    return Neighbours(index, options, ef, codes.get(options.same), codes.get(options.other))


class Neighbours:
    """Finds the neighbours of all products, a batch at a time.

    Products with equal vectors share an image (the store keeps one vector for each image), and are not neighbours.
    `same` and `other` are numbers for the values that must be equal or differ, one a product. If the index finds too
    few neighbours of a product, it is compared with all products.
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
        self._options = options
        self._ef = ef
        self._same, self._other = same, other
        self._images = _number_equal_rows(index.rows)
        rules = same is not None or other is not None
        # More than needed: some will be ruled out.
        self._candidates = min(len(index.names), options.pool * (4 if rules else 1) + 4)

    def batches(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]]:
        """Yield row numbers, (n,), their neighbours' row numbers, (n, limit), -1 if there are fewer, and scores."""
        rows = self._index.rows
        for start in range(0, len(rows), _BATCH):
            queries = np.arange(start, min(start + _BATCH, len(rows)))
            scores, found = self._index.nearest(rows[queries], self._candidates, self._ef)
            scores, found = _keep_best(scores, found, self._is_allowed(queries, found), self._options.pool)
            short = np.flatnonzero((found < 0).any(axis=1))
            per_block = max(1, _MAX_SCORES // len(rows))
            for first in range(0, len(short), per_block):
                some = short[first : first + per_block]
                scores[some], found[some] = self._compare_with_all(queries[some])
            yield queries, *self._choose(scores, found)

    def _is_allowed(self, queries: NDArray[np.int64], found: NDArray[np.int64]) -> NDArray[np.bool_]:
        allowed: NDArray[np.bool_] = (found >= 0) & (self._images[found] != self._images[queries][:, None])
        if self._same is not None:
            allowed &= self._same[found] == self._same[queries][:, None]
        if self._other is not None:
            allowed &= self._other[found] != self._other[queries][:, None]
        return allowed

    def _compare_with_all(self, queries: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        rows = self._index.rows
        scores = rows[queries] @ rows.T
        every = np.broadcast_to(np.arange(len(rows)), scores.shape)
        scores[~self._is_allowed(queries, every)] = -np.inf
        pool = min(self._options.pool, len(rows))
        best = np.argpartition(scores, -pool, axis=1)[:, -pool:]
        best_scores = np.take_along_axis(scores, best, axis=1)
        best[~np.isfinite(best_scores)] = -1
        return _keep_best(best_scores, best, best >= 0, self._options.pool)

    def _choose(
        self, scores: NDArray[np.float32], found: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return the neighbours and their scores, of the candidates found."""
        limit, balance = self._options.limit, self._options.balance
        if balance is None:
            return found, scores
        existing = np.where(found >= 0, scores, -np.inf).astype(np.float32)
        blocks = [slice(at, at + _DIVERSE_BATCH) for at in range(0, len(found), _DIVERSE_BATCH)]
        chosen = [diverse(existing[block], self._index.rows[found[block]], limit, balance) for block in blocks]
        pick = np.sort(np.concatenate(chosen), axis=1)  # the candidates are in the order of their scores
        return np.take_along_axis(found, pick, axis=1), np.take_along_axis(scores, pick, axis=1)


@dataclass(frozen=True, slots=True)
class WrittenNeighbours:
    """What was written: how many products with neighbours, how many rows, in `seconds`."""

    products: int
    rows: int
    seconds: float


def write(neighbours: Neighbours, names: Sequence[str], path: Path) -> WrittenNeighbours:
    """Write product_id, rank, other_id, score for every product into a .parquet or .csv file, whole or not at all.

    Raises ExportError for another ending, StorageError if it cannot be written.
    """
    import pyarrow as pa
    from pyarrow import csv, parquet

    writers = {".parquet": parquet.ParquetWriter, ".csv": csv.CSVWriter}
    if path.suffix.lower() not in writers:
        raise ExportError(f"{path}: the file's name must end in {' or '.join(writers)}")
    began = time.monotonic()
    kinds = (("product_id", pa.string()), ("rank", pa.int32()), ("other_id", pa.string()), ("score", pa.float32()))
    ids = pa.array(names, pa.string())
    products = rows = 0
    with atomic_write(path) as file, writers[path.suffix.lower()](file, pa.schema(kinds)) as writer:
        for queries, found, scores in neighbours.batches():
            exists = found >= 0
            ranks = np.broadcast_to(np.arange(1, found.shape[1] + 1, dtype=np.int32), found.shape)
            columns: list[Any] = [
                ids.take(pa.array(np.repeat(queries, exists.sum(axis=1)))),
                pa.array(ranks[exists]),
                ids.take(pa.array(found[exists])),
                pa.array(scores[exists].astype(np.float32)),
            ]
            writer.write_table(pa.table(columns, pa.schema(kinds)))
            products += int(exists.any(axis=1).sum())
            rows += int(exists.sum())
    return WrittenNeighbours(products, rows, time.monotonic() - began)


def _number_equal_rows(rows: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return a number for each row, the same for rows that are equal bit for bit."""
    numbers: dict[bytes, int] = {}
    sums = (hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in rows)
    return np.fromiter((numbers.setdefault(one, len(numbers)) for one in sums), np.int64, len(rows))


def _keep_best(
    scores: NDArray[np.float32], found: NDArray[np.int64], allowed: NDArray[np.bool_], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return scores and row numbers of each row's `count` best allowed ones, (n, count), padded with -inf and -1."""
    sortable = np.where(allowed, scores, -np.inf)
    order = np.argsort(-sortable, axis=1, kind="stable")[:, :count]
    best = np.take_along_axis(sortable, order, axis=1).astype(np.float32)
    rows = np.where(np.isfinite(best), np.take_along_axis(found, order, axis=1), -1)
    missing = count - best.shape[1]
    if missing > 0:
        best = np.pad(best, ((0, 0), (0, missing)), constant_values=-np.inf)
        rows = np.pad(rows, ((0, 0), (0, missing)), constant_values=-1)
    return best, rows
