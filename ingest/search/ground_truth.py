"""The exact neighbours of sampled products, held out, without a filter and with filters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.errors import ExportError, QueryError
from ingest.core.wording import quantity
from ingest.runtime.openmp import import_faiss

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.core.records import Scalar
    from ingest.exports.faiss_index import FaissIndex
    from ingest.search.selectivity import DrawnFilter

_SAME_SCORE = 1e-5
"""Scores this close count as equal: products that share an image come in any order, and float32 sums differ."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The share of a product's k exact neighbours that have its label, as the mean over the queries of that label."""

    label: str
    queries: int
    precision: float


@dataclass(frozen=True, slots=True)
class Question:
    """A query: product number `query` with a filter; `nearest` are the k best scores, (k or fewer,), best first."""

    query: int
    expression: str
    nearest: NDArray[np.float32]


class GroundTruth:
    """The exact neighbours of sampled products: `queries` are their row numbers, `nearest` is (n, k), best first."""

    def __init__(self, index: FaissIndex, k: int, sample: int) -> None:
        """Compare the sample with all products; raises ExportError if there are at most k products."""
        faiss = import_faiss()
        rows = index.rows
        if len(rows) <= k:
            raise ExportError(f"the FAISS files have {quantity(len(rows), 'product')}; more than --k {k} are needed")
        self.k = k
        self.rows = rows
        self.names = index.names
        self.queries = np.sort(np.random.default_rng(0).permutation(len(rows))[:sample])
        self._exact = faiss.IndexFlatIP(rows.shape[1])
        self._exact.add(rows)
        scores, found = self._exact.search(rows[self.queries], min(2 * k + 1, len(rows)))
        self.nearest, self.scores = _held_out(found, scores, self.queries, k)

    def questions(self) -> list[Question]:
        """Return all queries, without a filter."""
        return [Question(query, "", scores) for query, scores in zip(self.queries.tolist(), self.scores, strict=True)]

    def filtered(self, drawn: Sequence[DrawnFilter], part: slice) -> list[Question]:
        """Return a part of the queries, shared out among the filters; without those that match only themselves."""
        faiss = import_faiss()
        questions = []
        for number, one in enumerate(drawn):
            queries = self.queries[part][number :: len(drawn)]
            if not len(queries):
                continue
            chosen = faiss.SearchParameters(sel=faiss.IDSelectorBatch(one.rows))
            most = min(self.k + 1, len(one.rows))
            scores, found = self._exact.search(self.rows[queries], most, params=chosen)
            for query, some, others in zip(queries.tolist(), scores, found != queries[:, None], strict=True):
                if others.any():
                    questions.append(Question(query, one.expression, some[others][: self.k]))
        return questions

    def precisions(self, labels: Mapping[str, Scalar | None]) -> list[Precision]:
        """Return how often a product's exact neighbours have its label, by label, the worst first."""
        own = [labels.get(name) for name in self.names]
        shares: dict[str, list[float]] = {}
        for query, nearest in zip(self.queries, self.nearest, strict=True):
            label = own[query]
            if label not in (None, ""):
                shares.setdefault(str(label), []).append(sum(own[other] == label for other in nearest) / self.k)
        if not shares:
            raise QueryError("no product has a label; give a field of the collection with --labels")
        found = [Precision(label, len(some), float(np.mean(some))) for label, some in shares.items()]
        return sorted(found, key=lambda one: (one.precision, one.label))


def recall(questions: Sequence[Question], scores: Sequence[Sequence[float]]) -> float:
    """Return the mean share of each question's nearest that were found, judged by scores without the query's own."""
    shares = []
    for question, some in zip(questions, scores, strict=True):
        bound = question.nearest[-1] - _SAME_SCORE
        shares.append(min(sum(score >= bound for score in some), len(question.nearest)) / len(question.nearest))
    return float(np.mean(shares))


def _held_out(
    found: NDArray[np.int64], scores: NDArray[np.float32], queries: NDArray[np.int64], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return each query's k best neighbours and their scores, without itself."""
    own = found == queries[:, None]
    order = np.argsort(own, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(scores, order, axis=1)
