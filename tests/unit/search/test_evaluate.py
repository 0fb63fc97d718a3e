"""Recall is measured against exact search, with queries that are left out of their own hits."""

from __future__ import annotations

import faiss
import numpy as np
import pytest

from ingest.core.errors import ExportError, QueryError
from ingest.exports.faiss_index import FaissIndex
from ingest.search import evaluate
from ingest.search.evaluate import EfMeasurement, EvaluationConfig
from ingest.search.ground_truth import GroundTruth, recall
from ingest.search.selectivity import DrawnFilter

DIM = 16


def index_of(rows: np.ndarray, m: int = 8) -> FaissIndex:
    graph = faiss.IndexHNSWFlat(rows.shape[1], m, faiss.METRIC_INNER_PRODUCT)
    graph.add(rows)
    return FaissIndex(graph, [f"P{number}" for number in range(len(rows))])


@pytest.fixture(scope="module")
def index() -> FaissIndex:
    rows = np.random.default_rng(0).normal(size=(600, DIM))
    return index_of((rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32))


def test_the_truth_holds_no_query_itself_and_is_exact(index):
    truth = GroundTruth(index, 5, 50)
    scores = truth.rows @ truth.rows.T
    np.fill_diagonal(scores, -np.inf)

    assert len(truth.queries) == 50
    assert truth.nearest.tolist() == np.argsort(-scores[truth.queries], axis=1)[:, :5].tolist()
    questions = truth.questions()
    assert recall(questions, truth.scores.tolist()) == 1
    assert recall(questions, [row[:4] for row in truth.scores.tolist()]) == pytest.approx(0.8)
    assert recall(questions, [[]] * 50) == 0


def test_products_that_share_an_image_may_come_in_any_order():
    rows = np.repeat(np.eye(DIM, dtype=np.float32)[:3], 5, axis=0)
    truth = GroundTruth(index_of(rows), 3, 15)
    assert (truth.nearest != truth.queries[:, None]).all()
    assert recall(truth.questions(), [[1.0, 1.0, 1.0]] * 15) == 1, "any three of the four others"


def test_the_truth_behind_a_filter_holds_what_matches_and_no_more_than_there_is(index):
    truth = GroundTruth(index, 5, 60)
    few, half = np.array([3, 70, 599]), np.arange(0, 600, 2)
    drawn = [DrawnFilter(0.01, "few", few), DrawnFilter(0.01, "half", half)]

    questions = truth.filtered(drawn, slice(0, None, 2))

    assert {one.expression for one in questions} == {"few", "half"}
    assert [one.query for one in questions if one.expression == "few"] == truth.queries[0::4].tolist()
    scores = truth.rows @ truth.rows.T
    for one in questions:
        matching = few if one.expression == "few" else half
        exact = np.sort(scores[one.query][matching[matching != one.query]])[::-1][:5]
        assert one.nearest == pytest.approx(exact, abs=1e-5)


def test_a_query_that_alone_matches_asks_for_nothing(index):
    truth = GroundTruth(index, 5, 600)
    questions = truth.filtered([DrawnFilter(0.01, "one", np.array([7]))], slice(None))
    assert len(questions) == 599
    assert 7 not in {one.query for one in questions}
    assert truth.filtered([DrawnFilter(0.01, "one", np.array([7]))], slice(0, 0)) == []


def test_recall_grows_with_ef_and_the_smallest_that_is_enough_is_named(index):
    found = evaluate.evaluate(
        index, None, EvaluationConfig(k=10, queries=200, grid=(1, 16, 400), target_recall=0.99), ef=16
    )

    assert [row.ef for row in found.rows] == [11, 16, 400], "ef is k + 1 at least"
    recalls = [row.recall for row in found.rows]
    assert recalls == sorted(recalls)
    assert recalls[-1] > 0.99
    assert (found.smallest_ef, found.judged_by) == (next(row.ef for row in found.rows if row.recall >= 0.99), "faiss")
    assert all(0 < row.p50_ms <= row.p95_ms <= row.p99_ms for row in found.rows)
    assert all(row.queries_per_s > 0 for row in found.rows)


def test_the_collection_decides_if_it_was_measured():
    measured = [("faiss", 16, 1.0), ("collection", 16, 0.9), ("collection", 64, 0.995), ("collection", 128, 1.0)]
    rows = [EfMeasurement(where, ef, recall, 1, 1, 1, 1) for where, ef, recall in measured]
    assert evaluate.find_smallest_ef(rows, 0.99) == (64, "collection")
    assert evaluate.find_smallest_ef(rows[:1], 0.99) == (16, "faiss")
    assert evaluate.find_smallest_ef(rows[:2], 0.99) == (None, "collection")


def test_an_ef_is_good_enough_only_if_it_is_so_with_filters_too():
    measured = [(64, 1.0, 0.999), (64, 0.01, 0.47), (128, 1.0, 0.999), (128, 0.01, 0.995), (128, 0.5, 0.992)]
    rows = [EfMeasurement("collection", ef, recall, 1, 1, 1, 1, matching) for ef, matching, recall in measured]
    assert evaluate.find_smallest_ef(rows, 0.99) == (128, "collection")
    assert evaluate.find_smallest_ef(rows, 0.995) == (None, "collection")


def test_other_builds_are_measured(index):
    wanted = EvaluationConfig(k=5, queries=50, grid=(16,), ms=(2, 16), constructions=(10, 100))
    builds = evaluate.evaluate(index, None, wanted, ef=32).builds
    assert [(one.m, one.ef_construction) for one in builds] == [(2, 10), (2, 100), (16, 10), (16, 100)]
    assert builds[0].row.recall < builds[-1].row.recall
    assert builds[0].mib < builds[-1].mib


def test_precision_is_that_of_the_exact_neighbours():
    rows = np.repeat(np.eye(DIM, dtype=np.float32)[:2], 4, axis=0)
    labels = {f"P{number}": kind for number, kind in enumerate(["mug"] * 4 + ["lamp"] * 2 + ["", None])}
    found = GroundTruth(index_of(rows), 3, 8).precisions(labels)
    assert [(one.label, one.queries, pytest.approx(one.precision)) for one in found] == [
        ("lamp", 2, 1 / 3),
        ("mug", 4, 1),
    ]


def test_what_cannot_be_measured_is_an_error(index):
    with pytest.raises(ExportError, match="more than --k"):
        GroundTruth(index, 600, 5)
    with pytest.raises(QueryError, match="--labels"):
        GroundTruth(index, 5, 5).precisions({})
