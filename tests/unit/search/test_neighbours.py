"""The neighbours of all products, by an index, and the file that they are written to."""

from __future__ import annotations

import csv

import faiss
import numpy as np
import pytest
from pyarrow import parquet

from ingest.core.errors import ExportError, QueryError
from ingest.exports.faiss_index import FaissIndex
from ingest.search.neighbours import all_neighbours, write
from ingest.search.recommend import RecommendOptions

DIM = 8


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def index_of(rows: np.ndarray) -> FaissIndex:
    graph = faiss.IndexHNSWFlat(DIM, 8, faiss.METRIC_INNER_PRODUCT)
    graph.add(rows)
    return FaissIndex(graph, [f"P{number}" for number in range(len(rows))])


def neighbours(index: FaissIndex, options: RecommendOptions, labels=None) -> dict[int, list[int]]:
    finder = all_neighbours(index, options, 64, labels or {})
    return {
        int(asked): [int(one) for one in found if one >= 0]
        for some, many, _ in finder.batches()
        for asked, found in zip(some, many, strict=True)
    }


def exactly(rows, limit: int, allowed) -> dict[int, list[int]]:
    scores = rows @ rows.T
    return {
        one: sorted(
            (other for other in range(len(rows)) if allowed(one, other)), key=lambda other: -scores[one, other]
        )[:limit]
        for one in range(len(rows))
    }


def test_every_product_gets_its_nearest_without_itself_and_those_with_its_image():
    rows = rows_of(60)
    rows[10:40] = rows[10]  # one image, thirty products: more than the index is asked for
    image = [10 if 10 <= number < 40 else number for number in range(60)]

    found = neighbours(index_of(rows), RecommendOptions(limit=5))
    wanted = exactly(rows, 5, lambda one, other: image[one] != image[other])

    assert set(found) == set(range(60))
    assert all(image[one] not in {image[other] for other in others} for one, others in found.items())
    assert all(len(others) == 5 for others in found.values())
    for one in range(10, 40):  # the index finds none but its copies, so that everything is compared
        assert found[one] == wanted[one]


@pytest.mark.parametrize("rule", ["same", "other"])
def test_a_field_must_equal_or_differ(rule):
    rows = rows_of(50)
    kinds = ["mug" if number < 45 else "lamp" for number in range(50)]
    labels = {"category": {f"P{number}": kind for number, kind in enumerate(kinds)}}

    found = neighbours(index_of(rows), RecommendOptions(limit=4, **{rule: "category"}), labels)

    assert found == exactly(
        rows, 4, lambda one, other: one != other and (kinds[one] == kinds[other]) == (rule == "same")
    )


def test_diverse_neighbours_are_fewer_alike():
    rows = rows_of(80)
    near, far = (neighbours(index_of(rows), RecommendOptions(limit=5, balance=balance)) for balance in (None, 0.3))

    def alike(found: dict[int, list[int]]) -> float:
        return float(np.mean([(rows[others] @ rows[others].T).mean() for others in found.values()]))

    assert alike(far) < alike(near)
    assert set(far) == set(range(80))
    assert all(len(set(others)) == 5 and one not in others for one, others in far.items())


@pytest.mark.parametrize("name", ["out.parquet", "out.csv"])
def test_they_are_written_with_rank_and_score(tmp_path, name):
    rows = rows_of(3)
    index = index_of(rows)

    written = write(all_neighbours(index, RecommendOptions(limit=5), 64, {}), index.names, tmp_path / name)

    assert (written.products, written.rows) == (3, 6)
    if name.endswith("csv"):
        with (tmp_path / name).open(newline="", encoding="utf-8") as file:
            table = [(row["product_id"], int(row["rank"]), row["other_id"], float(row["score"]))
                     for row in csv.DictReader(file)]  # fmt: skip
    else:
        table = [tuple(row.values()) for row in parquet.read_table(tmp_path / name).to_pylist()]
    assert [(one, rank) for one, rank, _, _ in table] == [(f"P{n}", rank) for n in range(3) for rank in (1, 2)]
    for one, _, other, score in table:
        assert score == pytest.approx(float(rows[int(one[1:])] @ rows[int(other[1:])]), abs=1e-5)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_what_cannot_be_asked_or_written_is_said(tmp_path):
    index = index_of(rows_of(3))
    with pytest.raises(QueryError, match="no product has a value for size"):
        all_neighbours(index, RecommendOptions(same="size"), 64, {"size": {}})
    with pytest.raises(ExportError, match=r"\.parquet or \.csv"):
        write(all_neighbours(index, RecommendOptions(), 64, {}), index.names, tmp_path / "out.txt")
