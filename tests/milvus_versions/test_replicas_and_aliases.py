"""Replicas that a loaded collection has, and an alias that proxies remember, on every version."""

from __future__ import annotations

import logging
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest
from pymilvus import MilvusClient
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import InterruptedRunError, MilvusError
from ingest.milvus import alias, loading, versions
from ingest.milvus.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ingest.milvus.connection import Connection
    from milvus_versions.standin.server import Server

ALIAS = "products"
WRITES = {"AlterAlias", "AlterCollection", "LoadCollection", "DropCollection"}


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> SmallShop:
    """A shop whose alias has moved once."""
    shop = stocked(SmallShop(tmp_path, server.uri))
    shop.run(model="model-0")
    shop.run()
    return shop


def stocked(shop: SmallShop) -> SmallShop:
    """Stock a shop with products that have prices: a missing one is another test's matter."""
    shop.stock(FIVE)
    head, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    shop.settings.catalog.write_text("\n".join([f"{head},price", *(f"{line},1.5" for line in lines)]), encoding="utf-8")
    return shop


@contextmanager
def connected(shop: SmallShop, stop: threading.Event | None = None) -> Iterator[Connection]:
    with connect(shop.settings.milvus, stop) as connection:
        yield connection


def names(server: Server) -> tuple[str, str]:
    """Return the served collection and the one before."""
    served = server.collection(ALIAS).name
    (old,) = [name for name in server.collections() if name != served]
    return served, old


def test_a_run_and_a_rollback_leave_the_replicas_of_loaded_collections(server: Server, shop: SmallShop) -> None:
    served, old = names(server)
    for name in (served, old):
        server.collection(name).replicas = 2
        server.collection(name).resource_groups = ("busy",)
    server.forget()

    shop.run()
    with connected(shop) as connection:
        assert versions.rollback(connection, ALIAS) == versions.Rollback(old, 5, served, 5)

    assert not server.requests("LoadCollection")
    assert [(server.collection(name).replicas, server.collection(name).resource_groups) for name in (served, old)] == [
        (2, ("busy",)), (2, ("busy",)),
    ]  # fmt: skip


def test_a_server_that_does_not_tell_its_replicas_is_not_asked_to_change_them(
    server: Server, shop: SmallShop, tmp_path: Path
) -> None:
    server.collection(ALIAS).replicas = 2
    server.collection(ALIAS).resource_groups = ("busy",)
    server.fail("GetReplicas", 65535, "no answer", times=100)
    server.forget()
    shop.run(schema=contract_in(tmp_path, ALIAS, "\n[collection]\nreplicas = 2\n"))
    assert not server.requests("LoadCollection")


def test_an_alias_in_a_database_is_looked_up_on_every_version(server: Server, tmp_path: Path) -> None:
    """Milvus 2.3.5 looks for the description of an alias in the default database."""
    with closing(MilvusClient(uri=server.uri)) as client:
        client.create_database("market")
    shop = stocked(SmallShop(tmp_path, server.uri, db_name="market"))
    shop.run()
    with connected(shop) as connection:
        name = server.collection(ALIAS, "market").name
        assert alias.alias_target(connection, ALIAS) == name
        assert alias.alias_target(connection, name) is None, "a collection is no alias"
        assert alias.alias_target(connection, "nothing") is None


def test_a_released_collection_is_loaded_before_a_rollback_serves_it(server: Server, shop: SmallShop) -> None:
    _, old = names(server)
    server.collection(old).replicas = 0
    server.forget()
    with connected(shop) as connection:
        versions.rollback(connection, ALIAS)
    methods = [request.method for request in server.requests(*WRITES)]
    assert methods[0] == "LoadCollection"
    assert methods.count("LoadCollection") == 1
    assert methods.count("AlterAlias") == 2, "the second alias, and the alias"


def test_the_replicas_of_the_contract_are_those_that_a_load_without_a_number_gives(
    server: Server, tmp_path: Path
) -> None:
    schema = contract_in(tmp_path, ALIAS, "\n[collection]\nreplicas = 2\n")
    shop = stocked(SmallShop(tmp_path, server.uri, schema=schema))
    shop.run()
    collection = server.collection(ALIAS)
    assert collection.replicas == 2
    assert collection.properties["collection.replica.number"] == "2"

    with shop.client() as client:
        client.release_collection(collection.name)
        client.load_collection(collection.name)
    assert collection.replicas == (2 if server.dialect.resets_replicas else 1)


def test_more_replicas_in_the_contract_are_given_where_the_server_can(
    server: Server, shop: SmallShop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    schema = contract_in(tmp_path, ALIAS, "\n[collection]\nreplicas = 3\n")
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run(schema=schema).summary.unchanged == 5
    if server.dialect.resets_replicas:
        assert server.collection(ALIAS).replicas == 3
        assert not caplog.messages
    else:
        assert server.collection(ALIAS).replicas == 1
        assert "stays loaded with replicas: 1," in caplog.text


@pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)
def test_an_alias_is_not_noted_as_served_before_it_answers_from_its_new_collection(
    server: Server, shop: SmallShop
) -> None:
    _, old = names(server)
    server.alias_stale_s = 0.7
    server.forget()
    with connected(shop) as connection:
        versions.rollback(connection, ALIAS)
        assert set(loading.replicas_of(connection, ALIAS)) == {server.collection(old).number}
    asked = [
        "served" if "ingest.served" in str(request.message) else request.method
        for request in server.requests("AlterAlias", "GetReplicas", "AlterCollection")
    ]
    assert asked[:4] == ["AlterCollection", "AlterCollection", "AlterAlias", "AlterAlias"]
    assert asked.count("GetReplicas") > 4
    assert asked.index("served") > 4 + 4


@pytest.mark.parametrize("dialect", ["2.4.23", "2.6.16"], indirect=True)
def test_an_alias_that_goes_on_answering_from_the_old_collection_is_an_error_and_nothing_is_dropped(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    served, old = names(server)
    server.alias_stale_s = 1e6
    monkeypatch.setattr(alias, "_SWITCHED_WITHIN_S", 0.3)
    server.forget()
    with connected(shop) as connection:
        with pytest.raises(MilvusError, match=f"products points to {old}, but .* answered from another collection"):
            versions.rollback(connection, ALIAS)
        noted = [str(request.message) for request in server.requests("AlterCollection")]
        assert not any("ingest.served" in message for message in noted), "it is not noted as served"
        with pytest.raises(MilvusError, match="still answered from another collection"):
            versions.drop(connection, ALIAS, served)
    assert not server.requests("DropCollection")

    server.alias_stale_s = 0
    server.catalog.databases["default"].aliases[ALIAS].stale_until = 0
    assert shop.run(model="model-0").summary.unchanged == 5
    assert shop.releases()[0].name == old
    assert shop.releases()[0].last_served


@pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)
def test_waiting_for_an_alias_ends_when_the_user_asks_to_stop(server: Server, shop: SmallShop) -> None:
    server.alias_stale_s = 1e6
    stop = threading.Event()
    stop.set()
    with connected(shop, stop) as connection, pytest.raises(InterruptedRunError, match="move the alias products"):
        versions.rollback(connection, ALIAS)


def test_a_collection_that_another_alias_points_to_is_not_dropped(server: Server, shop: SmallShop) -> None:
    _, old = names(server)
    with shop.client() as client:
        client.create_alias(old, "an_app")
    with connected(shop) as connection:
        with pytest.raises(MilvusError, match=f"{old} is not dropped, because the alias an_app points to it; move or"):
            versions.drop(connection, ALIAS, old)
        with shop.client() as client:
            client.drop_alias("an_app")
        versions.drop(connection, ALIAS, old)
    assert old not in server.collections()


def test_a_collection_that_is_dropped_while_it_is_used_says_so(server: Server, shop: SmallShop) -> None:
    with connected(shop) as connection, pytest.raises(MilvusError, match="was it dropped during this run"):
        connection.call("describe it", connection.client.describe_collection, "no_such_collection")


def test_waiting_for_a_load_ends_when_the_user_asks_to_stop(server: Server, shop: SmallShop) -> None:
    from pymilvus.client.types import LoadState

    stop = threading.Event()
    stop.set()
    with connected(shop, stop) as connection:
        connection.client.get_load_state = lambda *_, **__: {"state": LoadState.Loading}
        with pytest.raises(InterruptedRunError, match="run the same command again"):
            loading.is_loaded(connection, ALIAS)


def test_a_user_who_may_not_create_the_second_alias_is_told_so_and_rolls_back_all_the_same(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = stocked(SmallShop(tmp_path, server.uri))
    shop.run(model="model-0")
    server.fail("CreateAlias", 65535, "CreateAlias: permission deny to clerk", times=9)
    with caplog.at_level(logging.WARNING, "ingest"):
        shop.run()
    [said] = caplog.messages
    assert "cannot set the alias: CreateAlias: permission deny" in said
    assert "without the alias products_previous ingest rollback goes by the property ingest.previous" in said

    served, old = names(server)
    with connected(shop) as connection:
        assert versions.rollback(connection, ALIAS).serves == old
        assert versions.rollback(connection, ALIAS).serves == served


def test_a_prune_drops_the_second_alias_with_its_collection(server: Server, shop: SmallShop) -> None:
    served, old = names(server)
    with shop.client() as client:
        assert client.describe_collection("products_previous")["collection_name"] in (old, "products_previous")
    server.forget()
    with connected(shop) as connection:
        versions.drop(connection, ALIAS, old)
        found = versions.list_versions(connection, ALIAS)
    assert [request.method for request in server.requests("DropAlias", "DropCollection")] == [
        "DropAlias",
        "DropCollection",
    ]
    assert [(version.name, version.serves, version.previous) for version in found] == [(served, True, False)]


def test_age_is_the_servers_own_count(server: Server, shop: SmallShop) -> None:
    served, old = names(server)
    with connected(shop) as connection:
        found = {version.name: version.age for version in versions.list_versions(connection, ALIAS)}
    assert found[old][0] < found[served][0]
