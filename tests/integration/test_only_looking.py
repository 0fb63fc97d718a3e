"""Commands that only look, against a real server: its collections stay as they are, released ones released."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from pymilvus import MilvusClient
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import MilvusError
from ingest.milvus import versions
from ingest.milvus.connection import connect
from ingest.search import recommend
from ingest.search.milvus_backend import SearchableCollection
from ingest.search.recommend import RecommendOptions
from ingest.tasks import doctor

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def shop(milvus_uri: str, collection_name: str, tmp_path: Path) -> SmallShop:
    """A shop whose alias has moved once, and whose older collection was released."""
    shop = SmallShop(tmp_path, milvus_uri, schema=contract_in(tmp_path, collection_name))
    shop.stock(FIVE)
    shop.run(model="model-0")
    shop.run()
    return shop


@pytest.fixture
def client(milvus_uri: str) -> Iterator[MilvusClient]:
    with closing(MilvusClient(uri=milvus_uri)) as client:
        yield client


def state(client: MilvusClient, alias: str) -> dict[str, Any]:
    """Return all that a server tells of the collections of an alias."""
    names = sorted(name for name in client.list_collections() if name.startswith(alias))
    told: dict[str, Any] = {"databases": sorted(client.list_databases()), "served": client.describe_alias(alias)}
    for name in names:
        told[name] = (
            client.describe_collection(name), client.get_load_state(name), client.describe_index(name, "embedding"),
            client.list_aliases(name),
        )  # fmt: skip
    return told


def test_a_server_is_left_as_it_was(shop: SmallShop, client: MilvusClient, collection_name: str) -> None:
    served = client.describe_alias(collection_name)["collection_name"]
    (old,) = [name for name in client.list_collections() if name.startswith(collection_name) and name != served]
    client.release_collection(old)
    before = state(client, collection_name)

    assert shop.plan().unchanged == 5
    assert shop.plan(model="model-9").added == 5
    assert shop.verify().differing == []
    with connect(shop.settings.milvus, existing=True) as connection:
        found = versions.list_versions(connection, collection_name)
        assert [(release.name, release.rows) for release in found] == [(served, 5), (old, 5)]
        one = SearchableCollection(connection, collection_name)
        assert [hit.product_id for hit in recommend.like(one, ["P1"], RecommendOptions(limit=4))]
    assert any(f"serves {served}" in finding.found for finding in doctor.findings(shop.settings))

    assert state(client, collection_name) == before


def test_a_served_collection_that_was_released_is_told_and_a_repair_loads_it(
    shop: SmallShop, client: MilvusClient, collection_name: str
) -> None:
    served = client.describe_alias(collection_name)["collection_name"]
    client.release_collection(served)
    before = state(client, collection_name)

    with pytest.raises(MilvusError, match=f"{served} is not loaded"):
        shop.plan()
    with (
        connect(shop.settings.milvus, existing=True) as connection,
        pytest.raises(MilvusError, match="is not loaded, and this command changes nothing; load it there, or run"),
    ):
        SearchableCollection(connection, collection_name)
    assert [fault.detail for fault in shop.verify().differing] == ["is not loaded, so nobody can search it"]
    assert state(client, collection_name) == before

    assert shop.repair().differing == []


def test_a_field_that_was_changed_on_a_server_is_found_and_healed(
    shop: SmallShop, client: MilvusClient, collection_name: str
) -> None:
    row = client.query(collection_name, filter='product_id == "P2"', output_fields=["*"], consistency_level="Strong")[0]
    client.upsert(collection_name, [row | {"price": 99.0, "season": "summer"}])

    (found,) = shop.verify().differing

    assert found.detail == 'price is 99.0, not unknown; season is "summer", not missing'
    assert shop.repair().differing == []
