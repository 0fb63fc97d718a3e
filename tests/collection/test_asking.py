"""What can be asked of a served collection: several vectors at once, products, what is similar, recommendations, ef."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.small_shop import SmallShop, picture_vector

from ingest.core import contract as contracts
from ingest.core import contract_file
from ingest.core.errors import QueryError
from ingest.exports import faiss_index
from ingest.search import evaluate, neighbours, recommend
from ingest.search.faiss_backend import ExportedIndex
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.query import Query, QueryModel
from ingest.search.recommend import RecommendOptions
from ingest.search.search import answer_queries

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.milvus.connection import Connection

PRODUCTS = {f"P{number}": (number, "even" if number % 2 == 0 else "odd") for number in range(30)}
PRODUCTS |= {"twin": (0, "odd"), 'quo"te': (3, "it's"), "nameless": (7, "")}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> SmallShop:
    shop = SmallShop(tmp_path_factory.mktemp("asking"))
    shop.stock(PRODUCTS)
    shop.run(exports=True)
    return shop


@pytest.fixture(scope="module")
def connection(shop: SmallShop) -> Iterator[Connection]:
    with shop.connection() as connection:
        yield connection


@pytest.fixture(scope="module")
def served(connection: Connection) -> SearchableCollection:
    return SearchableCollection(connection, "products")


@pytest.fixture(scope="module")
def exported(shop: SmallShop) -> ExportedIndex:
    return ExportedIndex(shop.settings, ef=64)


def exactly(product_id: str, allowed: set[str]) -> list[str]:
    def score(other: str) -> float:
        number, own = PRODUCTS[other][0], PRODUCTS[product_id][0]
        assert number is not None
        assert own is not None
        return float(picture_vector("model-1", number) @ picture_vector("model-1", own))

    return sorted(allowed, key=lambda other: -score(other))


def test_several_vectors_are_answered_in_one_call_as_each_alone(served: SearchableCollection) -> None:
    rows = [picture_vector("model-1", number) for number in range(5)]

    together = served.searches(rows, 3)

    assert [[hit.product_id for hit in hits] for hits in together] == [
        [hit.product_id for hit in served.search(row, 3)] for row in rows
    ]
    assert together[4][0].product_id == "P4"
    assert together[4][0].score == pytest.approx(1, abs=1e-5)
    assert len(together[4][0].image_sha256) == 64


def test_products_come_back_with_vector_and_metadata(served: SearchableCollection) -> None:
    found = served.products(['quo"te', "P4"])

    assert list(found) == ['quo"te', "P4"]
    assert found["P4"].vector == pytest.approx(picture_vector("model-1", 4), abs=1e-6)
    assert found['quo"te'].metadata["title"] == "it's"
    assert found["P4"].metadata["price"] is None, "not known"
    with pytest.raises(QueryError, match=r"no product nobody \(and 1 more\)"):
        served.products(["P4", "nobody", "none"])


def test_what_is_similar_is_neither_itself_nor_has_its_picture(served: SearchableCollection) -> None:
    hits = recommend.like(served, ["P0"], RecommendOptions(limit=5))

    pictures = [PRODUCTS[product_id][0] for product_id in exactly("P0", PRODUCTS.keys() - {"P0", "twin"})]
    assert [PRODUCTS[hit.product_id][0] for hit in hits] == pictures[:5]


def test_both_places_answer_a_query_alike(
    shop: SmallShop, served: SearchableCollection, exported: ExportedIndex
) -> None:
    queries = [Query(product_id="P1", limit=4), Query(product_id="P2", limit=4), Query(product_id='quo"te', limit=2)]
    model = QueryModel(shop.settings)

    one, other = answer_queries(served, model, queries), answer_queries(exported, model, queries)

    assert [len(hits) for hits in one] == [4, 4, 2]
    assert [hits[0].product_id for hits in one[:2]] != ["P1", "P2"], "left out themselves"
    assert [[hit.score for hit in hits] for hits in one] == [
        pytest.approx([hit.score for hit in hits], abs=1e-5) for hits in other
    ]
    with pytest.raises(QueryError, match="no metadata"):
        answer_queries(exported, model, [Query(product_id="P1", expression="price < 3")])


def test_a_name_that_no_product_can_have_is_refused_where_other_columns_are_dropped(tmp_path: Path) -> None:
    schema = tmp_path / "products.toml"
    shipped = contract_file.default_path().read_text(encoding="utf-8")
    schema.write_text(shipped.replace('others = "dynamic"', 'others = "drop"'), encoding="utf-8")
    shop = SmallShop(tmp_path / "shop", schema=schema)
    shop.stock(dict(list(PRODUCTS.items())[:3]))
    shop.run()
    with shop.connection() as connection:
        served = SearchableCollection(connection, "products")
        with pytest.raises(QueryError, match=r"titel is not a field of the collection \(did you mean title\?\)"):
            served.search(picture_vector("model-1", 0), 3, 'titel == "odd"')
        with pytest.raises(QueryError, match="not a field"):
            served.values("titel")
        found = served.search(picture_vector("model-1", 0), 3, 'title == "odd" and product_id != "x"')
        assert [hit.product_id for hit in found] == ["P1"]


def test_names_that_may_be_others_columns_are_only_told(served: SearchableCollection) -> None:
    assert served.search(picture_vector("model-1", 0), 3, "nosuch == 1") == []
    assert served.unknown_names('nosuch == 1 and title == "nosuch2"') == ["nosuch"]


def test_a_recommendation_keeps_to_the_same_or_goes_to_another(served: SearchableCollection) -> None:
    same = recommend.like(served, ["P4"], RecommendOptions(limit=50, same="title"))
    other = recommend.like(served, ["P4", "P1"], RecommendOptions(limit=50, other="title"))

    assert {hit.product_id for hit in same} == {f"P{number}" for number in range(0, 30, 2)} - {"P4"}
    assert {hit.product_id for hit in other} == {'quo"te', "nameless"}
    for wish, words in (
        (RecommendOptions(same="titel"), "did you mean title"),
        (RecommendOptions(other="price"), "has no price$"),
    ):
        with pytest.raises(QueryError, match=words):
            recommend.like(served, ["P4"], wish)
    with pytest.raises(QueryError, match="has no title"):
        recommend.like(served, ["nameless"], RecommendOptions(same="title"))


def test_diverse_recommendations_are_chosen_from_more(served: SearchableCollection) -> None:
    near, far = (recommend.like(served, ["P4"], RecommendOptions(limit=5, balance=balance)) for balance in (None, 0.2))

    def alike(hits: list[recommend.Hit]) -> float:
        rows = np.stack(list(served.vectors([hit.product_id for hit in hits]).values()))
        return float((rows @ rows.T).mean())

    assert len(near) == len({hit.product_id for hit in far}) == 5
    assert alike(far) < alike(near)


def test_all_products_get_theirs_by_the_collections_own_fields(shop: SmallShop, served: SearchableCollection) -> None:
    index = faiss_index.open_index(shop.settings.indexes, 8)
    titles = served.values("title")
    assert titles == {name: title for name, (_, title) in PRODUCTS.items()}

    finder = neighbours.all_neighbours(index, RecommendOptions(limit=40, same="title"), 64, {"title": titles})

    for asked, found, _ in finder.batches():
        for one, others in zip(asked, found, strict=True):
            name = index.names[one]
            picture, title = PRODUCTS[name]
            assert {index.names[other] for other in others if other >= 0} == {
                other for other, (its, kind) in PRODUCTS.items() if kind == title and its != picture
            }


def test_ef_is_measured_and_told_to_every_app(
    shop: SmallShop, connection: Connection, served: SearchableCollection
) -> None:
    index = faiss_index.open_index(shop.settings.indexes, 8)
    wanted = evaluate.EvaluationConfig(k=3, queries=10, grid=(8, 64), target_recall=0.9, labels="title")

    found = evaluate.evaluate(index, served, wanted, served.ef)

    assert [(row.where, row.ef, row.matching) for row in found.rows] == [
        ("faiss", 8, 1),
        ("faiss", 64, 1),
        *[("collection", 8, share) for share in (1, 0.5, 0.1)],  # Milvus Lite is exact: one ef stands for all
    ]
    assert [row.recall for row in found.rows if row.where == "collection"] == [1.0] * 3
    assert {(one.matching, one.expression, one.products) for one in found.filters} >= {
        (0.5, 'title == "odd"', 16),
        (0.5, 'title == "even"', 15),
        (0.1, 'image == "images/0.png"', 2),
    }
    assert found.judged_by == "collection"
    assert found.smallest_ef is not None
    assert {one.label for one in found.precisions} <= {"even", "odd", "it's"}
    assert [note.partition(",")[0] for note in found.notes] == [
        "Milvus Lite compares with every product that matches",
        "no field has a filter that matches about 1 % of the products; not measured",
    ]

    served.save_ef(96)
    carried = json.loads(connection.client.describe_collection(served.name)["properties"][contracts.PROPERTY])
    assert (carried["ef"], carried["ef_schema"], carried["ef_measured"]) == (96, 64, 96)
    assert SearchableCollection(connection, "products").ef == 96
