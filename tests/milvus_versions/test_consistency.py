"""Reads of a collection are strong, and its pages are of one moment if the server can do that."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from pymilvus.grpc_gen.common_pb2 import ConsistencyLevel
from support.small_shop import FIVE, SmallShop

from ingest.milvus import pages
from milvus_versions.standin.call import pairs

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from milvus_versions.standin.server import Server


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> SmallShop:
    """Make a shop of five products, and run it once."""
    shop = SmallShop(tmp_path, server.uri)
    stock(shop, price=1)
    shop.run()
    server.forget()
    return shop


def stock(shop: SmallShop, price: int) -> None:
    shop.stock(FIVE)
    head, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    priced = [f"{head},price", *(f"{line},{price}" for line in lines)]
    shop.settings.catalog.write_text("\n".join(priced), encoding="utf-8")


def queries(server: Server) -> list[Any]:
    return [request.message for request in server.requests("Query")]


def test_no_question_is_left_to_the_consistency_that_the_collection_has(server: Server, shop: SmallShop) -> None:
    stock(shop, price=2)
    shop.plan()
    shop.run()
    shop.verify()
    asked = queries(server)
    assert any(pairs(query.query_params).get("iterator") == "True" for query in asked)
    assert {(query.use_default_consistency, query.consistency_level) for query in asked} == {
        (False, ConsistencyLevel.Strong)
    }


def test_the_pages_after_the_first_are_of_its_moment_where_the_server_says_which(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "_MAX_ROWS", 2)
    with shop.connection() as connection:
        name = next(name for name in server.collections() if name.startswith("products_"))
        read = [[row["product_id"] for row in page] for page in pages.pages(connection, name, ["product_id"], "Strong")]
    assert read == [["P0", "P1"], ["P2", "P3"], ["P4"]]
    first, *others = queries(server)
    moments = {query.guarantee_timestamp for query in others}
    assert first.guarantee_timestamp == 0
    assert len(moments) == 1
    assert (moments == {0}) is not server.dialect.since(2, 4)
