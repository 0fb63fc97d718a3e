"""The server the other integration tests rely on does what they rely on."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from pymilvus import DataType, MilvusClient

if TYPE_CHECKING:
    from collections.abc import Iterator

DIMENSION = 8


@pytest.fixture
def client(milvus_uri: str) -> Iterator[MilvusClient]:
    with closing(MilvusClient(uri=milvus_uri)) as client:
        yield client


def create_collection(client: MilvusClient, name: str, **properties: str) -> None:
    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("product_id", DataType.VARCHAR, is_primary=True, max_length=64)
    schema.add_field("digest", DataType.VARCHAR, max_length=64)
    schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=DIMENSION)
    index = client.prepare_index_params()
    index.add_index("embedding", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
    client.create_collection(name, schema=schema, index_params=index, properties=properties, consistency_level="Strong")


def axis(number: int) -> list[float]:
    """Give the unit vector along one axis; its inner product with itself is 1, with any other axis 0."""
    return [1.0 if position == number else 0.0 for position in range(DIMENSION)]


def row(product_id: str, *, digest: str = "", direction: int = 0) -> dict[str, object]:
    return {"product_id": product_id, "digest": digest, "embedding": axis(direction)}


def count(client: MilvusClient, name: str) -> int:
    return int(client.query(name, filter="", output_fields=["count(*)"])[0]["count(*)"])


def nearest(client: MilvusClient, name: str, direction: int) -> str:
    hits = client.search(name, data=[axis(direction)], limit=1, output_fields=["product_id"])[0]
    return str(hits[0]["entity"]["product_id"])


def test_a_collection_keeps_its_properties_and_its_index(client: MilvusClient, collection_name: str) -> None:
    create_collection(client, collection_name, **{"model.name": "clip", "model.revision": "abc"})

    described = client.describe_collection(collection_name)
    index = client.describe_index(collection_name, "embedding")

    assert described["properties"] == {"model.name": "clip", "model.revision": "abc"}
    assert [field["name"] for field in described["fields"]] == ["product_id", "digest", "embedding"]
    assert (index["index_type"], index["metric_type"]) == ("HNSW", "IP")
    assert (int(index["M"]), int(index["efConstruction"])) == (16, 200)


def test_an_upsert_is_read_back_at_once_and_replaces_what_was_there(client: MilvusClient, collection_name: str) -> None:
    create_collection(client, collection_name)
    client.upsert(collection_name, [row(f"p{number}", digest="old") for number in range(100)])

    client.upsert(collection_name, [row("p7", digest="new"), row("p100", digest="new")])

    assert count(client, collection_name) == 101
    assert client.get(collection_name, ids=["p7"], output_fields=["digest"])[0]["digest"] == "new"
    assert client.get(collection_name, ids=["p8"], output_fields=["digest"])[0]["digest"] == "old"


def test_a_deleted_row_is_gone_at_once(client: MilvusClient, collection_name: str) -> None:
    create_collection(client, collection_name)
    client.upsert(collection_name, [row("kept"), row("gone", direction=1)])

    client.delete(collection_name, ids=["gone"])

    assert count(client, collection_name) == 1
    assert nearest(client, collection_name, direction=1) == "kept"


def test_an_alias_moves_to_another_collection_and_takes_the_search_along(
    client: MilvusClient, collection_name: str
) -> None:
    first, second = f"{collection_name}_v1", f"{collection_name}_v2"
    for name in (first, second):
        create_collection(client, name)
        client.upsert(name, [row(f"{name}_x", direction=1), row(f"{name}_y", direction=2)])

    client.create_alias(first, collection_name)
    before = nearest(client, collection_name, direction=2)
    client.alter_alias(second, collection_name)
    after = nearest(client, collection_name, direction=2)

    assert (before, after) == (f"{first}_y", f"{second}_y")
    assert client.describe_alias(collection_name)["collection_name"] == second


def test_an_iterator_reads_every_key_with_one_field_in_batches(client: MilvusClient, collection_name: str) -> None:
    create_collection(client, collection_name)
    digests = {f"p{number}": f"digest {number}" for number in range(2500)}
    client.upsert(collection_name, [row(key, digest=digest) for key, digest in digests.items()])

    batches = []
    with closing(
        client.query_iterator(collection_name, batch_size=1000, filter="", output_fields=["product_id", "digest"])
    ) as iterator:
        while batch := iterator.next():
            batches.append(batch)

    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert {found["product_id"]: found["digest"] for batch in batches for found in batch} == digests
