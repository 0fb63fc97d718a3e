"""The alias is followed when it switches to another model and back, and through an outage."""

from __future__ import annotations

import pytest
from support.small_shop import SmallShop, checkpoint

from ingest.core.errors import MilvusError, ModelError
from ingest.milvus import alias, versions
from ingest.server.alias_watcher import AliasWatcher


@pytest.fixture
def shop(tmp_path) -> SmallShop:
    """Make a shop filled with one model, and then with another, which the alias points to."""
    made = SmallShop(tmp_path)
    made.stock({"a": (1, "one"), "b": (2, "two")})
    made.run(model="model-1")
    made.run(model="model-2")
    return made


def test_a_model_that_does_not_match_is_refused_until_its_collection_is_back(shop) -> None:
    with shop.connection() as connection:
        live = AliasWatcher(connection, "products", checkpoint("model-2").space)
        before = live.collection
        live.refresh()
        assert live.collection is before

        versions.rollback(connection, "products")
        assert (
            live.matching_collection() is before
        )  # all answers come from the previous collection until the next check
        live.refresh()
        assert live.collection.name != before.name
        assert "was built with model-1" in live.fault
        with pytest.raises(ModelError):
            live.matching_collection()

        versions.rollback(connection, "products")
        live.refresh()
        assert live.fault == ""
        assert live.matching_collection().name == before.name


def test_it_does_not_start_with_the_wrong_model_or_without_a_collection(shop) -> None:
    with shop.connection() as connection:
        with pytest.raises(ModelError):
            AliasWatcher(connection, "products", checkpoint("model-1").space)
        with pytest.raises(MilvusError, match="ingest run"):
            AliasWatcher(connection, "nobody", checkpoint("model-1").space)


def test_a_missing_alias_is_reported_and_the_collection_stays(shop) -> None:
    with shop.connection() as connection:
        live = AliasWatcher(connection, "products", checkpoint("model-2").space)
        name = live.collection.name
        connection.client.drop_alias("products")
        live.refresh()
        assert "no alias products" in live.fault
        assert live.matching_collection().name == name
        alias.switch(connection, "products", name, alias.alias_target(connection, "products"))
        live.refresh()
        assert live.fault == ""
