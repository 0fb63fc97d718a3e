"""Commands that only read send no request that writes or loads."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.service import serving
from support.shop import Shop, copied_sample_model, sample_products

if TYPE_CHECKING:
    from pathlib import Path

    from milvus_versions.standin.server import Server

READS = {
    "Connect", "GetVersion", "ListDatabases", "ShowCollections", "DescribeCollection", "DescribeAlias", "DescribeIndex",
    "GetLoadState", "GetReplicas", "GetCollectionStatistics", "GetFlushState", "Query", "Search",
}  # fmt: skip
ALIAS = "products"
COMMANDS = {
    "plan": ["plan"],
    "verify": ["verify"],
    "search": ["search", "red shoe"],
    "recommend": ["recommend", sample_products(1)[0]["product_id"]],
    "evaluate": ["evaluate", "--queries", "4", "--k", "2", "--ef", "16"],
    "collections": ["collections"],
    "status": ["status"],
    "doctor": ["doctor"],
}
pytestmark = pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)


@pytest.fixture
def shop(server: Server, tmp_path: Path) -> Shop:
    """A shop that was run once, and whose collection has two replicas by now."""
    shop = Shop(tmp_path / "shop", copied_sample_model(tmp_path / "clip"))
    shop.stock([product | {"price": "1.5"} for product in sample_products(6)])
    settings = shop.folder / "ingest.toml"
    settings.write_text(f"{settings.read_text(encoding='utf-8')}uri = {server.uri!r}\n", encoding="utf-8")
    shop.run()
    server.collection(ALIAS).replicas = 2
    server.forget()
    return shop


def asked(server: Server) -> set[str]:
    return {request.method for request in server.requests()}


def test_no_command_that_reads_writes_or_loads(server: Server, shop: Shop) -> None:
    for name, words in COMMANDS.items():
        ended = shop.ingest(*words)
        assert ended.code == 0, (name, ended.err)
        assert asked(server) <= READS, name
    with serving(shop) as service:
        assert service.search(text="shoe", limit=2)
    assert asked(server) <= READS
    assert server.collection(ALIAS).replicas == 2


def test_of_a_released_collection_they_say_so_in_one_line_and_leave_it_released(server: Server, shop: Shop) -> None:
    server.collection(ALIAS).replicas = 0
    for name in ("plan", "search", "recommend"):
        ended = shop.ingest(*COMMANDS[name])
        assert (ended.code, len(ended.said)) == (5, 1), (name, ended.err)
        assert "is not loaded, and this command changes nothing; load it there, or run: ingest run" in ended.said[0]
    assert asked(server) <= READS
    assert server.collection(ALIAS).replicas == 0
