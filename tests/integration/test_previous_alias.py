"""The second alias on a server: set, moved, dropped with its collection, and values of any character in filters."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import MilvusError
from ingest.milvus import versions
from ingest.milvus.alias import alias_target
from ingest.milvus.connection import connect
from ingest.search import recommend
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.recommend import RecommendOptions

if TYPE_CHECKING:
    from pathlib import Path


def test_the_previous_collection_is_found_swapped_and_dropped(
    tmp_path: Path, milvus_uri: str, collection_name: str
) -> None:
    alias, second = collection_name, f"{collection_name}_previous"
    shop = SmallShop(tmp_path, milvus_uri, schema=contract_in(tmp_path, alias))
    shop.stock(FIVE)
    for model in ("model-0", "model-1", "model-2"):
        shop.run(model=model)
    with connect(shop.settings.milvus) as connection:
        found = versions.list_versions(connection, alias)
        assert [version.model for version in found] == ["model-2", "model-1", "model-0"]
        assert [version.previous for version in found] == [False, True, False]
        assert found[0].age > found[1].age > found[2].age
        assert alias_target(connection, second) == found[1].name

        # as a kill just before the alias moved would leave it
        connection.client.alter_alias(found[0].name, second)
        assert [version.model for version in versions.list_versions(connection, alias) if version.previous] == [
            "model-1"
        ]
    shop.run(model="model-2")
    with connect(shop.settings.milvus) as connection:
        assert alias_target(connection, second) == found[1].name, "the next run heals it"
        assert [version.model for version in versions.select_prunable(found, 1)] == ["model-0"]
        assert versions.rollback(connection, alias, found[2].name).rows == 5
        assert alias_target(connection, second) == found[0].name
        assert versions.rollback(connection, alias).serves == found[0].name
        versions.drop(connection, alias, found[2].name)
        assert alias_target(connection, second) is None
        assert found[2].name not in connection.client.list_collections()
        with pytest.raises(MilvusError, match="there is no collection"):
            versions.rollback(connection, alias)
    shop.run(model="model-1")
    with connect(shop.settings.milvus) as connection:
        assert alias_target(connection, second) == found[0].name, "set again after it was dropped"
        connection.client.drop_collection(found[0].name)  # by hand: Milvus 2.3.5 leaves the alias without a collection
        assert [version.previous for version in versions.list_versions(connection, alias)] == [False]
    shop.run(model="model-3")
    with connect(shop.settings.milvus) as connection:
        assert alias_target(connection, second) == found[1].name


def test_values_with_any_character_are_found_by_a_server(tmp_path: Path, milvus_uri: str, collection_name: str) -> None:
    odd = ["bell\x07", "tab\t", 'quo"te', "back\\slash", "two\nlines", "form\x0cfeed", "del\x7f", "a\u2028b", "\\u0041"]
    shop = SmallShop(tmp_path, milvus_uri, schema=contract_in(tmp_path, collection_name))
    shop.stock(
        {f"P{number}{twin}": (2 * number + (twin == "b"), text) for number, text in enumerate(odd) for twin in "ab"}
    )
    text = shop.settings.catalog.read_text(encoding="utf-8").replace("title", "in", 1)
    shop.run()
    with connect(shop.settings.milvus) as connection:
        served = SearchableCollection(connection, collection_name)
        for number in range(len(odd)):
            hits = recommend.like(served, [f"P{number}a"], RecommendOptions(same="title"))
            assert [hit.product_id for hit in hits] == [f"P{number}b"], odd[number]
    shop.settings.catalog.write_text(text, encoding="utf-8")
    assert shop.run().summary.upserted == 2 * len(odd)
    with connect(shop.settings.milvus) as connection:
        served = SearchableCollection(connection, collection_name)
        ends = time.monotonic() + 30  # reads of apps may be some seconds old
        while served.products(["P0a"])["P0a"].metadata.get("in") is None and time.monotonic() < ends:
            time.sleep(0.2)
        for number in range(len(odd)):
            hits = recommend.like(served, [f"P{number}a"], RecommendOptions(same="in"))
            assert [hit.product_id for hit in hits] == [f"P{number}b"], odd[number]
