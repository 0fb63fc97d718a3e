"""How a collection lies in a cluster, as a real server takes it: shards, partition key, replicas."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from pymilvus import MilvusClient
from support.shop import contract_in
from support.small_shop import SmallShop

from ingest.core.errors import MilvusError

if TYPE_CHECKING:
    from pathlib import Path

FIVE = {f"P{number}": (number, f"Product {number}") for number in range(5)}


def schema(folder: Path, alias: str, layout: str) -> Path:
    return contract_in(folder, alias, f"\n[collection]\n{layout}\n")


def test_a_server_makes_the_shards_and_the_partition_key(milvus_uri: str, collection_name: str, tmp_path: Path) -> None:
    shop = SmallShop(
        tmp_path, milvus_uri, schema=schema(tmp_path, collection_name, 'shards = 3\npartition_key = "title"')
    )
    shop.stock(FIVE)
    shop.run()
    with closing(MilvusClient(uri=milvus_uri)) as client:
        description = client.describe_collection(collection_name)
        assert description["num_shards"] == 3
        assert [field["name"] for field in description["fields"] if field.get("is_partition_key")] == ["title"]

        shop.stock({**FIVE, "P1": (1, "Moved to another partition")})
        assert shop.run().summary.upserted == 1
        found = client.query(collection_name, filter="", output_fields=["count(*)"], consistency_level="Strong")
        assert found[0]["count(*)"] == 5
    assert not shop.verify().differing


def test_replicas_that_a_loaded_collection_cannot_have_are_told_and_change_nothing(
    milvus_uri: str, collection_name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = SmallShop(tmp_path, milvus_uri, schema=schema(tmp_path, collection_name, "replicas = 1"))
    shop.stock(FIVE)
    shop.run()
    schema(tmp_path, collection_name, "replicas = 2")
    with caplog.at_level(logging.WARNING, "ingest"):
        summary = shop.run().summary
    assert (summary.upserted, summary.unchanged) == (0, 5)
    assert "stays loaded with replicas: 1," in caplog.text


def test_more_shards_than_the_server_allows_are_refused_in_one_line(
    milvus_uri: str, collection_name: str, tmp_path: Path
) -> None:
    shop = SmallShop(tmp_path, milvus_uri, schema=schema(tmp_path, collection_name, "shards = 64"))
    shop.stock(FIVE)
    with pytest.raises(MilvusError, match=r"cannot create \S+: maximum shards's number"):
        shop.run()
