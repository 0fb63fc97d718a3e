"""How good the index is: recall against exact search and latency over a grid of ef, and how good the model is.

Queries are products' own vectors, held out: a product is left out of its own answers, exact and found, so that
nothing is measured that finds itself.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ingest.errors import ExportError, QueryError
from ingest.openmp import import_faiss

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.records import Scalar
    from ingest.search.served import Served
    from ingest.sinks.faiss import Opened

GRID = (16, 32, 64, 128, 256, 512)
_SAME_SCORE = 1e-5
"""Scores this near are one: products that share a picture are found in any order, and float32 sums differ."""
_WARM_UP = 5  # queries that are not timed


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table: latencies are milliseconds of one query, from one client after another."""

    where: str
    ef: int
    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    queries_per_s: float


@dataclass(frozen=True, slots=True)
class Build:
    """An index built with other parameters: `mib` is its vectors and links in memory."""

    m: int
    ef_construction: int
    build_s: float
    mib: float
    row: Row


@dataclass(frozen=True, slots=True)
class Precision:
    """The share of the k exactly nearest that have a product's own label, its mean over the queries of that label."""

    label: str
    queries: int
    precision: float


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to measure: recall@`k` over `queries` products, for each ef of the `grid`, of `faiss` and the `collection`.

    `labels` is a metadata field, "" for none. `ms` and `constructions` are M and efConstruction to build with.
    """

    k: int = 10
    queries: int = 500
    grid: Sequence[int] = GRID
    target_recall: float = 0.99
    faiss: bool = True
    collection: bool = True
    labels: str = ""
    ms: Sequence[int] = ()
    constructions: Sequence[int] = ()


@dataclass(slots=True)
class Evaluation:
    """What was measured: recall@k over `queries` of `products`; `smallest_ef` is None where none reaches the target."""

    k: int
    products: int
    queries: int
    target_recall: float
    rows: list[Row] = field(default_factory=list)
    smallest_ef: int | None = None
    judged_by: str = ""
    builds: list[Build] = field(default_factory=list)
    labels: str = ""
    precisions: list[Precision] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def evaluate(index: Opened, served: Served | None, wanted: Wanted, ef: int) -> Evaluation:
    """Measure what is wanted; `served` may be None where nothing is wanted of the collection, `ef` is the contract's.

    Raises ExportError where the files hold not more than k products, QueryError where no product has such a label.
    """
    truth = Truth(index, wanted.k, wanted.queries)
    found = Evaluation(wanted.k, len(truth.names), len(truth.queries), wanted.target_recall)
    grid = sorted({max(one, wanted.k + 1) for one in wanted.grid})  # a search for so many cannot have less
    if wanted.labels and served is not None:
        found.labels = wanted.labels
        found.precisions = truth.precisions(served.values(wanted.labels))
    if wanted.faiss:
        found.rows += faiss_rows(index, truth, grid)
    if wanted.collection and served is not None:
        if (rows := served.count()) != len(truth.names):
            found.notes.append(
                f"the collection has {rows:,} products, the FAISS files {len(truth.names):,}; "
                "bring both in step with: ingest run"
            )
        found.rows += served_rows(served, truth, grid)
    found.smallest_ef, found.judged_by = smallest(found.rows, wanted.target_recall)
    found.builds += builds(truth, wanted.ms, wanted.constructions, max(ef, wanted.k + 1))
    return found


class Truth:
    """The exact neighbours of sampled products: `queries` are their row numbers, `nearest` is (n, k), best first."""

    def __init__(self, index: Opened, k: int, sample: int) -> None:
        """Compare everything; raises ExportError where there are not more than k products."""
        faiss = import_faiss()
        rows = index.rows
        if len(rows) <= k:
            raise ExportError(f"{len(rows)} products in the FAISS files; more than --k {k} are needed")
        self.k = k
        self.rows = rows
        self.names = index.names
        self.queries = np.sort(np.random.default_rng(0).permutation(len(rows))[:sample])
        exact = faiss.IndexFlatIP(rows.shape[1])
        exact.add(rows)
        scores, found = exact.search(rows[self.queries], min(2 * k + 1, len(rows)))
        self.nearest, self.scores = _held_out(found, scores, self.queries, k)

    def recall(self, scores: Sequence[Sequence[float]]) -> float:
        """Return the mean share of the k best that were found, by their scores, own ones left out."""
        least = self.scores[:, -1] - _SAME_SCORE
        hits = [min(sum(score >= bound for score in some), self.k) for some, bound in zip(scores, least, strict=True)]
        return float(np.mean(hits)) / self.k

    def precisions(self, labels: Mapping[str, Scalar | None]) -> list[Precision]:
        """Return how often a product's exact neighbours have its own label, by label, the worst first."""
        own = [labels.get(name) for name in self.names]
        shares: dict[str, list[float]] = {}
        for query, nearest in zip(self.queries, self.nearest, strict=True):
            label = own[query]
            if label not in (None, ""):
                shares.setdefault(str(label), []).append(sum(own[other] == label for other in nearest) / self.k)
        if not shares:
            raise QueryError("no product has such a label; name a field of the collection with --labels")
        found = [Precision(label, len(some), float(np.mean(some))) for label, some in shares.items()]
        return sorted(found, key=lambda one: (one.precision, one.label))


def faiss_rows(index: Opened, truth: Truth, grid: Sequence[int]) -> Iterator[Row]:
    """Yield a row for each ef: the FAISS index, a query at a time on one thread, as a service answers."""
    with _one_thread():
        for ef in grid:

            def ask(vector: NDArray[np.float32], ef: int = ef) -> list[tuple[str, float]]:
                return index.search(vector, truth.k + 1, ef)

            yield _measured("faiss", ef, truth, ask)


def served_rows(served: Served, truth: Truth, grid: Sequence[int]) -> Iterator[Row]:
    """Yield a row for each ef: the collection, a query at a time, with its metadata, as apps ask."""
    for ef in grid:

        def ask(vector: NDArray[np.float32], ef: int = ef) -> list[tuple[str, float]]:
            return [(hit.product_id, hit.score) for hit in served.searches([vector], truth.k + 1, ef=ef)[0]]

        yield _measured("collection", ef, truth, ask)


def builds(truth: Truth, ms: Sequence[int], constructions: Sequence[int], ef: int) -> Iterator[Build]:
    """Yield what indexes of other M and efConstruction would be like, each built anew over all rows, by FAISS alone."""
    from ingest.sinks.faiss import Opened

    faiss = import_faiss()
    for m in ms:
        for construction in constructions:
            began = time.monotonic()
            graph = faiss.IndexHNSWFlat(truth.rows.shape[1], m, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = construction
            graph.add(truth.rows)
            seconds = time.monotonic() - began
            mib = (truth.rows.nbytes + len(truth.rows) * 2 * m * 4) / 2**20  # the lowest layer has 2 M links
            [row] = faiss_rows(Opened(graph, truth.names), truth, [ef])
            yield Build(m, construction, seconds, mib, row)


def smallest(rows: Sequence[Row], target: float) -> tuple[int | None, str]:
    """Return the smallest ef that reaches the target, and by whom: the collection where it was asked, else FAISS."""
    where = "collection" if any(row.where == "collection" for row in rows) else "faiss"
    reached = [row.ef for row in rows if row.where == where and row.recall >= target]
    return min(reached, default=None), where


def _measured(where: str, ef: int, truth: Truth, ask: Callable[[NDArray[np.float32]], list[tuple[str, float]]]) -> Row:
    for query in truth.queries[:_WARM_UP]:
        ask(truth.rows[query])
    seconds, scores = [], []
    for query in truth.queries:
        began = time.perf_counter()
        found = ask(truth.rows[query])
        seconds.append(time.perf_counter() - began)
        own = truth.names[query]
        scores.append([score for product_id, score in found if product_id != own][: truth.k])
    p50, p95, p99 = (float(np.percentile(seconds, share)) * 1e3 for share in (50, 95, 99))
    return Row(where, ef, truth.recall(scores), p50, p95, p99, len(seconds) / sum(seconds))


def _held_out(
    found: NDArray[np.int64], scores: NDArray[np.float32], queries: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Leave each query out of its own neighbours, and keep k."""
    own = found == queries[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Have FAISS use one thread in the block."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
