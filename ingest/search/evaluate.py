"""Measures the index, recall against exact search and latency over a grid of ef, and the model's precision.

Queries are products' own vectors, held out: a product is left out of its own hits, exact and approximate, because
finding itself proves nothing. The collection is searched without a filter and with filters on its own fields.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.wording import quantity
from ingest.runtime.openmp import import_faiss
from ingest.search import selectivity
from ingest.search.ground_truth import GroundTruth, Precision, Question, recall

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.exports.faiss_index import FaissIndex
    from ingest.search.milvus_backend import SearchableCollection
    from ingest.search.selectivity import DrawnFilter

GRID = (16, 32, 64, 128, 256, 512)
SHARES = (0.01, 0.1, 0.5)
_WARM_UP = 5  # queries that are not timed


@dataclass(frozen=True, slots=True)
class EfMeasurement:
    """One row of the table: latencies are milliseconds of one query, sent one after another.

    `matching` is about the share, 0 to 1, of the products that match the queries' filters; 1 without a filter.
    """

    where: str
    ef: int
    recall: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    queries_per_s: float
    matching: float = 1.0


@dataclass(frozen=True, slots=True)
class IndexBuild:
    """An index built with other parameters; `mib` is the size of its vectors and links in memory."""

    m: int
    ef_construction: int
    build_s: float
    mib: float
    row: EfMeasurement


@dataclass(frozen=True, slots=True)
class MeasuredFilter:
    """A filter that was measured with: it is drawn for a share, `matching`, 0 to 1, and matches so many `products`."""

    matching: float
    expression: str
    products: int


@dataclass(frozen=True, slots=True)
class EvaluationConfig:
    """What to measure: recall@`k` over `queries` products, for each ef of the `grid`, of `faiss` and the `collection`.

    `labels` is a metadata field, "" for none. `ms` and `constructions` are M and efConstruction to build with. The
    collection is also searched with filters that match about each of `shares`, 0 to 1; as many queries again, in equal
    parts.
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
    shares: Sequence[float] = SHARES


@dataclass(slots=True)
class Evaluation:
    """What was measured: recall@k over `queries` of `products`.

    `smallest_ef` reaches the target without a filter and with each share of filters; None if no ef does.
    """

    k: int
    products: int
    queries: int
    target_recall: float
    rows: list[EfMeasurement] = field(default_factory=list)
    smallest_ef: int | None = None
    judged_by: str = ""
    builds: list[IndexBuild] = field(default_factory=list)
    labels: str = ""
    precisions: list[Precision] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    filters: list[MeasuredFilter] = field(default_factory=list)


def evaluate(index: FaissIndex, served: SearchableCollection | None, wanted: EvaluationConfig, ef: int) -> Evaluation:
    """Measure what is wanted; `served` may be None if the collection is not measured; `ef` is the contract's.

    Raises ExportError if the files have at most k products, QueryError if no product has a label.
    """
    truth = GroundTruth(index, wanted.k, wanted.queries)
    found = Evaluation(wanted.k, len(truth.names), len(truth.queries), wanted.target_recall)
    grid = sorted({max(one, wanted.k + 1) for one in wanted.grid})  # ef must be at least the number of hits
    if wanted.labels and served is not None:
        found.labels = wanted.labels
        found.precisions = truth.precisions(served.values(wanted.labels))
    if wanted.faiss:
        found.rows += faiss_rows(index, truth, grid)
    if wanted.collection and served is not None:
        drawn = _draw_filters(served, truth, wanted.shares)
        found.filters = [MeasuredFilter(one.share, one.expression, len(one.rows)) for one in drawn]
        found.notes += _notes(served, truth, grid[0])
        found.notes += [
            f"no field has a filter that matches about {100 * share:.3g} % of the products; not measured"
            for share in wanted.shares
            if share not in {one.share for one in drawn}
        ]
        found.rows += collection_rows(served, truth, grid[:1] if served.is_exact else grid, drawn)
    found.smallest_ef, found.judged_by = find_smallest_ef(found.rows, wanted.target_recall)
    found.builds += measure_builds(truth, wanted.ms, wanted.constructions, max(ef, wanted.k + 1))
    return found


def _draw_filters(served: SearchableCollection, truth: GroundTruth, shares: Sequence[float]) -> list[DrawnFilter]:
    """Draw the filters to search with from the collection's fields."""
    if not shares:
        return []
    columns = {
        name: column for name, values in served.columns()
        if selectivity.is_useful(column := list(map(values.get, truth.names)))
    }  # fmt: skip
    return selectivity.draw(columns, shares, served.missing)


def _notes(served: SearchableCollection, truth: GroundTruth, ef: int) -> Iterator[str]:
    """Yield what to know about the collection's figures; `ef` is the smallest one to measure."""
    if (rows := served.count()) != len(truth.names):
        yield (
            f"the collection has {quantity(rows, 'product')}, the FAISS files {len(truth.names):,}; "
            "bring both in step with: ingest run"
        )
    if served.is_exact:
        yield f"Milvus Lite compares with every product that matches, whatever the ef, so only ef {ef} is measured"


def faiss_rows(index: FaissIndex, truth: GroundTruth, grid: Sequence[int]) -> Iterator[EfMeasurement]:
    """Yield a row for each ef: the FAISS index, one query at a time on one thread, as a service answers."""
    with _one_thread():
        for ef in grid:

            def ask(vector: NDArray[np.float32], _expression: str, ef: int = ef) -> list[tuple[str, float]]:
                return index.search(vector, truth.k + 1, ef)

            yield _measured("faiss", ef, truth, truth.questions(), ask)


def collection_rows(
    served: SearchableCollection, truth: GroundTruth, grid: Sequence[int], drawn: Sequence[DrawnFilter] = ()
) -> Iterator[EfMeasurement]:
    """Yield a row for each ef: the collection, one query at a time, with metadata, as apps search.

    The row without a filter is followed by one for each share that filters were drawn for.
    """
    shares = sorted({one.share for one in drawn}, reverse=True)
    asked = {1.0: truth.questions()} | {
        share: truth.filtered([one for one in drawn if one.share == share], slice(number, None, len(shares)))
        for number, share in enumerate(shares)
    }
    for ef in grid:

        def ask(vector: NDArray[np.float32], expression: str, ef: int = ef) -> list[tuple[str, float]]:
            hits = served.nearest([vector], truth.k + 1, expression, ef=ef)[0]
            return [(hit.product_id, hit.score) for hit in hits]

        for share, questions in asked.items():
            if questions:
                yield _measured("collection", ef, truth, questions, ask, share)


def measure_builds(
    truth: GroundTruth, ms: Sequence[int], constructions: Sequence[int], ef: int
) -> Iterator[IndexBuild]:
    """Build a FAISS index over all rows with each M and efConstruction, and yield its figures."""
    from ingest.exports.faiss_index import FaissIndex

    faiss = import_faiss()
    for m in ms:
        for construction in constructions:
            began = time.monotonic()
            graph = faiss.IndexHNSWFlat(truth.rows.shape[1], m, faiss.METRIC_INNER_PRODUCT)
            graph.hnsw.efConstruction = construction
            graph.add(truth.rows)
            seconds = time.monotonic() - began
            mib = (truth.rows.nbytes + len(truth.rows) * 2 * m * 4) / 2**20  # the lowest layer has 2 M links
            [row] = faiss_rows(FaissIndex(graph, truth.names), truth, [ef])
            yield IndexBuild(m, construction, seconds, mib, row)


def find_smallest_ef(rows: Sequence[EfMeasurement], target: float) -> tuple[int | None, str]:
    """Return the smallest ef that reaches the target in all its rows, with filters and without, and whose rows decide.

    The collection's rows decide if there are any, else FAISS's.
    """
    where = "collection" if any(row.where == "collection" for row in rows) else "faiss"
    lowest: dict[int, float] = {}
    for row in rows:
        if row.where == where:
            lowest[row.ef] = min(row.recall, lowest.get(row.ef, 1.0))
    return min((ef for ef, recall in lowest.items() if recall >= target), default=None), where


def _measured(
    where: str,
    ef: int,
    truth: GroundTruth,
    questions: Sequence[Question],
    ask: Callable[[NDArray[np.float32], str], list[tuple[str, float]]],
    matching: float = 1.0,
) -> EfMeasurement:
    for question in questions[:_WARM_UP]:
        ask(truth.rows[question.query], question.expression)
    seconds, scores = [], []
    for question in questions:
        began = time.perf_counter()
        found = ask(truth.rows[question.query], question.expression)
        seconds.append(time.perf_counter() - began)
        own = truth.names[question.query]
        scores.append([score for product_id, score in found if product_id != own][: truth.k])
    p50, p95, p99 = (float(np.percentile(seconds, share)) * 1e3 for share in (50, 95, 99))
    return EfMeasurement(where, ef, recall(questions, scores), p50, p95, p99, len(seconds) / sum(seconds), matching)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Limit FAISS to one thread in the block."""
    faiss = import_faiss()
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
