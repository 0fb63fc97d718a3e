"""Databases of a real server: every request is for the one that is named, and for no other."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from pymilvus import MilvusClient
from support.milvus_server import milvus_server
from support.shared_server import IMPORTED
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

from ingest.core.settings import MilvusSettings
from ingest.milvus import versions
from ingest.milvus.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOT, CLERK = "root:Milvus", "clerk:of-one-database"
THEIRS = "theirs"


@pytest.fixture
def database(milvus_uri: str, collection_name: str) -> Iterator[str]:
    """Make a database, and drop it with what is in it."""
    name = f"{collection_name}_shop"
    with closing(MilvusClient(uri=milvus_uri)) as client:
        client.create_database(name)
        yield name
    with closing(MilvusClient(uri=milvus_uri, db_name=name)) as client:
        client.drop_alias(collection_name)
        for left in client.list_collections():
            client.drop_collection(left)
        client.drop_database(name)


def digests(uri: str, name: str, database: str = "") -> dict[str, str]:
    with closing(MilvusClient(uri=uri, db_name=database)) as client:
        found = client.query(name, filter='product_id != ""', output_fields=["row_digest"], consistency_level="Strong")
    return {row["product_id"]: row["row_digest"] for row in found}


def test_an_import_goes_into_the_database_that_is_named_though_another_has_a_collection_of_that_name(
    milvus_uri: str, collection_name: str, import_folder: Path, database: str, tmp_path: Path
) -> None:
    schema = contract_in(tmp_path, collection_name)
    (tmp_path / "twin").mkdir()
    twin = SmallShop(tmp_path / "twin", milvus_uri, schema=schema)
    twin.stock({"only in the twin": (9, "Twin")})
    twin.run()
    (name,) = [release.name for release in twin.releases(collection_name)]
    before = digests(milvus_uri, name)

    shop = SmallShop(
        tmp_path, milvus_uri, schema=schema, db_name=database,
        load="bulk", bulk_folder=import_folder, bulk_path=f"{IMPORTED}/{collection_name}",
    )  # fmt: skip
    shop.stock(FIVE)
    assert shop.run().summary.upserted == len(FIVE)

    assert digests(milvus_uri, name, database).keys() == FIVE.keys()
    assert digests(milvus_uri, name) == before
    assert shop.run().summary.unchanged == len(FIVE)
    assert not shop.verify().differing


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """Start a server that asks for a token, with a user who has every right in one database and none elsewhere."""
    with milvus_server(token=ROOT, COMMON_SECURITY_AUTHORIZATIONENABLED="true") as server:
        with closing(MilvusClient(uri=server.uri, token=ROOT)) as root:
            root.create_database(THEIRS)
            root.create_user(*CLERK.split(":"))
            root.create_role("clerks")
            for kind in ("Collection", "Global"):
                root.grant_privilege("clerks", kind, "*", "*", db_name=THEIRS)
            root.grant_role(CLERK.partition(":")[0], "clerks")
        yield server.uri


def test_a_user_with_a_role_in_one_database_can_do_there_what_the_tool_does(guarded: str, tmp_path: Path) -> None:
    shop = SmallShop(tmp_path, guarded, token=CLERK, db_name=THEIRS)
    shop.stock(FIVE)

    assert shop.run(model="model-0").summary.upserted == len(FIVE)
    assert shop.run().summary.upserted == len(FIVE)
    assert not shop.verify().differing
    shop.stock({**FIVE, "P1": (1, "changed")})
    assert sum(shop.plan().changed.values()) == 1
    assert shop.run().summary.upserted == 1
    with connect(MilvusSettings(guarded, CLERK, THEIRS, max_wait=5)) as connection:
        done = versions.rollback(connection, "products")
        versions.drop(connection, "products", done.served_before)
        assert [release.name for release in versions.list_versions(connection, "products")] == [done.serves]
