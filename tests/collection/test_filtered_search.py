"""What a filter lets through is found in full in Milvus Lite, however few it is and wherever it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.settings import MilvusSettings
from ingest.milvus import checks, index_parameters
from ingest.milvus.alias import switch
from ingest.milvus.collection import Collection
from ingest.milvus.connection import Connection, connect
from ingest.milvus.vector_search import effective_ef
from ingest.search import recommend
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.recommend import RecommendOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

DIM, ROWS, CLUSTERS = 16, 3000, 20
SPACE = Space("model", "1", DIM, {})
CONTRACT = contract_file.load(contract_file.default_path())


@dataclass(frozen=True)
class Stock:
    """A collection of clustered products: a category is a cluster, prices are spread over all of them."""

    served: SearchableCollection
    vectors: NDArray[np.float32]
    clusters: NDArray[np.int64]
    prices: NDArray[np.float64]

    def exact(self, query: NDArray[np.float32], matching: NDArray[np.bool_], limit: int) -> list[str]:
        numbers = np.flatnonzero(matching)
        order = np.argsort(-(self.vectors[numbers] @ query), kind="stable")[:limit]
        return [f"P{number}" for number in numbers[order]]


def fill(connection: Connection) -> tuple[Collection, NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    chance = np.random.default_rng(0)
    clusters = np.sort(chance.integers(0, CLUSTERS, ROWS))  # a catalog is in the order of its categories
    vectors = chance.normal(size=(CLUSTERS, DIM))[clusters] + 0.3 * chance.normal(size=(ROWS, DIM))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    prices = chance.random(ROWS) * 100
    collection = Collection(connection, CONTRACT, SPACE)
    collection.prepare()
    rows = [row(number, vectors, clusters, prices) for number in range(ROWS)]
    for start in range(0, ROWS, 1000):
        connection.client.upsert(collection.name, rows[start : start + 1000])
    collection.flush()
    return collection, vectors, clusters, prices


def row(number: int, vectors: Any, clusters: Any, prices: Any) -> dict[str, Any]:
    return {
        "product_id": f"P{number}", "embedding": vectors[number], "row_digest": "0" * 32,
        "image_sha256": f"{number:064x}",
        "title": f"Product {number}", "category": f"c{clusters[number]}", "colour": "", "brand": "", "image": "",
        "price": float(prices[number]),
    }  # fmt: skip


@pytest.fixture(scope="module", params=["by this ingest", "by an ingest that built an index there"])
def stock(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stock]:
    path = tmp_path_factory.mktemp("filtered") / "milvus.db"
    with connect(MilvusSettings(str(path), max_wait=5)) as connection:
        collection, vectors, clusters, prices = fill(connection)
        if request.param != "by this ingest":
            connection.client.create_index(collection.name, index_parameters.index_params(CONTRACT))
        switch(connection, CONTRACT.alias, collection.name, None)
        yield Stock(SearchableCollection(connection, CONTRACT.alias), vectors, clusters, prices)


FILTERS: dict[str, tuple[str, Callable[[Stock], NDArray[np.bool_]]]] = {
    "one in 1,000, anywhere": ("price < 0.1", lambda stock: stock.prices < 0.1),
    "one in 100, anywhere": ("price < 1", lambda stock: stock.prices < 1),
    "a tenth, anywhere": ("price < 10", lambda stock: stock.prices < 10),
    "half, anywhere": ("price < 50", lambda stock: stock.prices < 50),
    "a category, far from most": ('category == "c7"', lambda stock: stock.clusters == 7),
    "half of the categories": (
        f"category in {[f'c{number}' for number in range(0, CLUSTERS, 2)]}".replace("'", '"'),
        lambda stock: stock.clusters % 2 == 0,
    ),
}


@pytest.mark.parametrize("limit", [10, 1000])
@pytest.mark.parametrize(("expression", "matching"), FILTERS.values(), ids=FILTERS)
def test_the_nearest_that_match_are_found_and_as_many_as_there_are(
    stock: Stock, expression: str, matching: Callable[[Stock], NDArray[np.bool_]], limit: int
) -> None:
    queries = stock.vectors[:: ROWS // CLUSTERS]

    answers = stock.served.nearest(list(queries), limit, expression, ef=16)

    mask = matching(stock)
    for query, hits in zip(queries, answers, strict=True):
        wanted = stock.exact(query, mask, limit)
        assert len(hits) == len(wanted)
        scores = [float(stock.vectors[int(name[1:])] @ query) for name in wanted]
        assert [hit.score for hit in hits] == pytest.approx(scores, abs=1e-5)


def test_what_is_like_a_product_in_its_category_or_out_of_it_is_found_in_full(stock: Stock) -> None:
    own, others = stock.clusters == stock.clusters[5], stock.clusters != stock.clusters[5]
    own[5] = False

    same = recommend.like(stock.served, ["P5"], RecommendOptions(limit=1000, same="category"))
    other = recommend.like(stock.served, ["P5"], RecommendOptions(limit=10, other="category"))

    assert [hit.product_id for hit in same] == stock.exact(stock.vectors[5], own, 1000)
    assert [hit.product_id for hit in other] == stock.exact(stock.vectors[5], others, 10)


def test_half_of_what_is_changed_or_deleted_hides_nothing(tmp_path: Any) -> None:
    with connect(MilvusSettings(str(tmp_path / "milvus.db"), max_wait=5)) as connection:
        collection, vectors, clusters, prices = fill(connection)
        collection.delete([f"P{number}" for number in range(0, ROWS, 4)])
        rows = [row(number, vectors, clusters, prices + 1000) for number in range(1, ROWS, 4)]
        connection.client.upsert(collection.name, rows)
        switch(connection, CONTRACT.alias, collection.name, None)
        served = SearchableCollection(connection, CONTRACT.alias)

        assert {hit.product_id for hit in served.search(vectors[0], ROWS, "price < 1000")} == {
            f"P{number}" for number in range(ROWS) if number % 4 > 1
        }
        assert len(served.search(vectors[0], ROWS)) == ROWS * 3 // 4


def test_the_next_run_drops_the_index_of_an_older_ingest(tmp_path: Any) -> None:
    with connect(MilvusSettings(str(tmp_path / "milvus.db"), max_wait=5)) as connection:
        collection, *_ = fill(connection)
        connection.client.create_index(collection.name, index_parameters.index_params(CONTRACT))
        connection.client.load_collection(collection.name)
        assert collection.ready()
        assert collection.index()["index_type"] == "HNSW", "looking changes nothing"
        assert not list(checks.index(collection)), "and it is no fault"

        collection.prepare()

        assert collection.index() is None
        assert collection.count() == ROWS
        assert not list((tmp_path / "milvus.db").glob("**/*.idx"))


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 32_768), st.integers(1, 16_384), st.booleans())
def test_a_search_is_as_wide_as_the_ef_the_hits_and_a_late_filter_need(ef: int, limit: int, late: bool) -> None:
    assert effective_ef(ef, limit, filters_late=False) == max(ef, limit)
    assert effective_ef(ef, limit, filters_late=True) >= 100_000
