"""What was acknowledged is seen by whoever asks next, at once: a real server is some tenths of a second behind."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from pymilvus import DataType
from support.shop import contract_in
from support.small_shop import FIVE, SmallShop

from ingest.milvus import filters, pages
from ingest.milvus.connection import Connection

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TIMES = 4
IDS = ["P1", 'quote"', "back\\slash", "'", "ünïcode", "P2", "~"]


@pytest.fixture
def connection(milvus_uri: str, collection_name: str) -> Iterator[Connection]:
    """Connect, with a collection as a client makes it that says nothing of consistency: Bounded."""
    with closing(Connection(milvus_uri, "", "", 5)) as connection:
        client = connection.client
        schema = client.create_schema(auto_id=False, enable_dynamic_field=True)
        schema.add_field("product_id", DataType.VARCHAR, is_primary=True, max_length=128)
        schema.add_field("embedding", DataType.FLOAT_VECTOR, dim=4)
        index = client.prepare_index_params()
        index.add_index("embedding", index_type="HNSW", metric_type="IP", params={"M": 16, "efConstruction": 200})
        client.create_collection(collection_name, schema=schema, index_params=index)
        assert client.describe_collection(collection_name)["consistency_level_name"] == "Bounded"
        yield connection


def test_all_rows_are_read_as_they_were_last_acknowledged(
    connection: Connection, collection_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MAX_ROWS", 3)
    for time in range(TIMES):
        left = IDS[time:]
        rows = [{"product_id": name, "embedding": [1.0] * 4, "time": time} for name in left]
        connection.client.upsert(collection_name, rows)
        if time:
            connection.client.delete(collection_name, filter=filters.among("product_id", [IDS[time - 1]]))
        read = list(pages.pages(connection, collection_name, ["product_id", "time"], "Strong"))
        assert [row for page in read for row in page] == [{"product_id": name, "time": time} for name in sorted(left)]
        assert max(map(len, read)) <= 3


def test_whoever_looks_right_after_a_run_sees_all_that_it_wrote(
    milvus_uri: str, collection_name: str, tmp_path: Path
) -> None:
    shop = SmallShop(tmp_path, milvus_uri, schema=contract_in(tmp_path, collection_name))
    shop.stock(FIVE)
    shop.run()
    for time in range(TIMES):
        shop.stock({**FIVE, "P1": (1, f"changed {time}"), "P2": (2, f"changed {time}")})
        assert shop.run().summary.upserted == 2
        if time % 2:
            verdict = shop.verify()
            assert verdict.differing == []
            assert verdict.rows == len(FIVE)
        else:
            assert shop.run().summary.unchanged == len(FIVE)
