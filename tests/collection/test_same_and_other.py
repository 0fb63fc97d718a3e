"""`recommend --same` and `--other`: values with control characters, columns named like words of Milvus' filters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.shop import write_csv
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import QueryError
from ingest.search import recommend
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.recommend import RecommendOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

ODD = ["bell\x07", "tab\t", "form\x0cfeed", 'quo"te', "back\\slash", "two\nlines", "del\x7f", "c1\x9b", "line\u2028"]
COLUMNS = ["in", "Like", "null", "exists", "my field", 'a"b', "iso", "array_length"]
PRODUCTS = [
    {
        "product_id": f"P{number}{twin}",
        "image": f"images/{number % 5}.png",
        "title": text,
        **dict.fromkeys(COLUMNS, text),
    }
    for number, text in enumerate(ODD)
    for twin in "ab"
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SearchableCollection]:
    shop = SmallShop(tmp_path_factory.mktemp("odd"))
    shop.stock(FIVE)
    products = [{**product, "image": f"images/{number % 5}.png"} for number, product in enumerate(PRODUCTS)]
    write_csv(shop.settings.catalog, products)
    assert shop.run().summary.upserted == len(PRODUCTS)
    with shop.connection() as connection:
        yield SearchableCollection(connection, "products")


@pytest.mark.parametrize("number", range(len(ODD)), ids=map(ascii, ODD))
def test_a_value_with_any_character_is_found_again(served: SearchableCollection, number: int) -> None:
    hits = recommend.like(served, [f"P{number}a"], RecommendOptions(same="title"))
    assert [hit.product_id for hit in hits] == [f"P{number}b"]
    others = recommend.like(served, [f"P{number}a"], RecommendOptions(limit=50, other="title"))
    assert f"P{number}b" not in {hit.product_id for hit in others}
    assert len(others) > 8


@pytest.mark.parametrize("column", COLUMNS)
def test_a_column_named_like_a_word_of_filters_is_a_key(served: SearchableCollection, column: str) -> None:
    hits = recommend.like(served, ["P1a"], RecommendOptions(same=column))
    assert [hit.product_id for hit in hits] == ["P1b"]


def test_a_column_that_no_filter_can_name_is_told(served: SearchableCollection) -> None:
    with pytest.raises(QueryError, match="cannot be written in a filter of Milvus; give the column a plainer name"):
        recommend.like(served, ["P1a"], RecommendOptions(same="a\\b"))
