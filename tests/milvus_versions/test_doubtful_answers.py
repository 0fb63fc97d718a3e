"""Servers whose counts are too large, whose iterators leave rows out, and whose answers must not be too long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.small_shop import FIVE, SmallShop

from ingest.core.errors import MilvusError
from ingest.milvus import collection, pages
from ingest.milvus.collection import Collection
from ingest.search.milvus_backend import SearchableCollection
from ingest.server import snapshot
from ingest.tasks import verify_rows

if TYPE_CHECKING:
    from pathlib import Path

    from milvus_versions.standin.server import Server

WIDE = 40  # products with a text of 2,000 characters that is no field


@pytest.fixture
def shop(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SmallShop:
    """Make a shop of five products whose waits are short."""
    monkeypatch.setattr(collection, "_STALE_S", 0.2)
    monkeypatch.setattr(collection, "_POLL_S", 0.02)
    monkeypatch.setattr(verify_rows, "_COUNT_EVERY_S", 0.01)
    shop = SmallShop(tmp_path, server.uri)
    stock(shop, dict.fromkeys(FIVE, "short"))
    return shop


def stock(shop: SmallShop, texts: dict[str, str]) -> None:
    """Write a catalog with a text for each product, beside a price."""
    shop.stock({name: (number, name) for number, name in enumerate(texts)})
    head, *lines = shop.settings.catalog.read_text(encoding="utf-8").splitlines()
    rows = [f"{line},1.5,{text}" for line, text in zip(lines, texts.values(), strict=True)]
    shop.settings.catalog.write_text("\n".join([f"{head},price,story", *rows]), encoding="utf-8")


def counting_too_many(patch: pytest.MonkeyPatch) -> None:
    count = Collection.count
    patch.setattr(Collection, "count", lambda self, *args: count(self, *args) + 3 * (args != ("Bounded",)))


def leaving_out_the_last(patch: pytest.MonkeyPatch, rows: int = 2) -> None:
    read = pages.pages
    patch.setattr(pages, "pages", lambda *args: (page[:-rows] for page in read(*args)))


def test_a_count_that_is_too_large_keeps_no_collection_from_being_served(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        counting_too_many(patch)
        assert shop.run().summary.served
        verdict = shop.verify()
    assert verdict.differing == []
    assert [note for note in verdict.notes if note.startswith("3 rows more by count(*)")]
    assert not server.requests("Delete")


def test_rows_that_an_iterator_leaves_out_are_not_called_missing(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        leaving_out_the_last(patch)
        assert shop.run().summary.served, "every row is asked for by its id before the alias is kept from moving"
        verdict = shop.verify()
    assert verdict.differing == []
    assert verdict.rows == verdict.expected == 5
    assert [note for note in verdict.notes if note.startswith("2 rows were left out")]
    assert server.collection("products").rows.keys() == FIVE.keys()


def test_a_row_that_is_gone_is_called_missing_all_the_same(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    del server.collection("products").rows["P4"]
    with monkeypatch.context() as patch:
        leaving_out_the_last(patch, rows=1)
        found = shop.verify().differing
    assert [(fault.kind, fault.name, fault.detail) for fault in found] == [("row", "P4", "is missing")]


def test_a_short_iterator_never_makes_a_run_delete_what_the_catalog_has(
    server: Server, shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.run()
    stock(shop, {name: "short" for name in FIVE if name != "P0"})
    with monkeypatch.context() as patch:
        leaving_out_the_last(patch)
        assert shop.run(prune=True, max_prune=1).summary.deleted == 1
    assert server.collection("products").rows.keys() == FIVE.keys() - {"P0"}


@pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)
def test_an_index_that_is_given_rows_back_again_and_again_is_not_waited_for_for_ever(
    shop: SmallShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = iter(range(1_000_000))
    with monkeypatch.context() as patch:
        patch.setattr(collection, "_NO_PROGRESS_S", 0.3)
        patch.setattr(Collection, "_pending_rows", lambda _: 5 + next(pending) % 3)
        assert shop.run().summary.served


def test_rows_too_wide_for_one_answer_are_read_a_few_at_a_time(server: Server, shop: SmallShop) -> None:
    stock(shop, {f"P{number}": "wide" * 500 for number in range(WIDE)})
    server.max_answer = 20_000
    assert shop.run().summary.upserted == WIDE
    assert not shop.verify().differing
    with shop.connection() as connection:
        served = SearchableCollection(connection, "products")
        assert len(served.values("story")) == WIDE
        assert len(served.products([f"P{number}" for number in range(WIDE)])) == WIDE
        vectors = list(served.vectors(["P1", "P2", "P3"]).values())
        assert [len(hits) for hits in served.searches(vectors, 8)] == [8, 8, 8]
        assert snapshot.take(connection, served.name, served.contract).rows == WIDE


def test_a_row_that_no_answer_can_hold_is_an_error_that_says_so(server: Server, shop: SmallShop) -> None:
    shop.run()
    server.max_answer = 50
    with pytest.raises(
        MilvusError, match=r"cannot read all rows of products_\w+: query results exceed the maxOutputSize"
    ):
        shop.verify()
