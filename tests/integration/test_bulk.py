"""First loads by the import job of a real server that shares a folder with the test."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import pytest
from support.shared_server import IMPORTED
from support.shop import contract_in, rows_of
from support.small_shop import SmallShop

from ingest.core.errors import InterruptedRunError
from ingest.milvus import bulk_import, import_jobs

if TYPE_CHECKING:
    from pathlib import Path

    from support.shop import Row

PRODUCTS = {f"P{number}": (number % 7, f"Prodüct {number}") for number in range(40)}


class Server(NamedTuple):
    """The server, a folder that it shares with the test and where it sees that, and a name for collections."""

    uri: str
    shared: Path
    there: str
    name: str

    def shop(self, folder: Path, alias: str, there: str = "", **settings: object) -> SmallShop:
        """Make a shop whose alias is of this test."""
        folder.mkdir(exist_ok=True)
        schema = contract_in(folder, f"{self.name}_{alias}")
        shop = SmallShop(
            folder, self.uri, schema=schema, bulk_folder=self.shared, bulk_path=there or self.there, **settings
        )
        priced(shop, PRODUCTS)
        return shop

    def rows(self, alias: str) -> dict[str, Row]:
        return rows_of(self.uri, f"{self.name}_{alias}")


@pytest.fixture
def server(milvus_uri: str, import_folder: Path, collection_name: str) -> Server:
    return Server(milvus_uri, import_folder, f"{IMPORTED}/{collection_name}", collection_name)


def priced(shop: SmallShop, products: dict[str, tuple[int | None, str]]) -> None:
    """Stock the shop; every fourth product's price is not known, and every product has a column of no field."""
    shop.stock(products)
    path = shop.settings.catalog
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{number if number % 4 else ''},red {number}" for number, line in enumerate(lines)]
    path.write_text("\n".join([f"{head},price,other", *rows]), encoding="utf-8")


def test_an_import_leaves_the_rows_that_upserts_leave(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_import, "FILE_BYTES", 8000)  # several files
    shop = server.shop(tmp_path / "a", "imported", load="bulk")
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run().summary.upserted == len(PRODUCTS)
    assert [said for said in caplog.messages if "is still working" not in said] == []
    assert list(server.shared.iterdir()) == []
    upserted = server.shop(tmp_path / "b", "upserted", load="upsert")
    upserted.run()
    imported, others = server.rows("imported"), server.rows("upserted")
    assert imported.keys() == others.keys() == PRODUCTS.keys()
    prices = [row["price"] for row in imported.values()]
    for product_id, row in imported.items():
        price, other = row.pop("price"), others[product_id].pop("price")
        assert price == other or (math.isnan(price) and math.isnan(other))
        assert row == others[product_id]
    assert sum(math.isnan(found) for found in prices) == len(PRODUCTS) / 4
    assert shop.run().summary.upserted == 0
    assert not shop.verify().differing

    priced(shop, {**PRODUCTS, "P1": (1, "changed"), "new": (2, "new")})
    assert shop.run().summary.upserted == 2
    assert server.rows("imported")["P1"]["title"] == "changed"
    assert not shop.verify().differing, "what was there was upserted, not added a second time"


def test_files_that_the_server_does_not_see_are_upserted_and_why_is_said(
    server: Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = server.shop(tmp_path / "shop", "elsewhere", "/nowhere", load="auto")
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run().summary.upserted == len(PRODUCTS)
    assert "no such file or directory" in caplog.text
    assert "the rows are upserted" in caplog.text
    assert not shop.verify().differing


def test_a_job_whose_number_a_killed_run_never_heard_is_waited_for(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = server.shop(tmp_path / "shop", "unheard", load="bulk")
    send = import_jobs._send

    def send_and_die(*args: object) -> NoReturn:
        send(*args)
        raise InterruptedRunError("killed")

    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(import_jobs, "_send", send_and_die)
        shop.run()
    assert list(server.shared.iterdir()), "the file stays while the server reads it"
    assert shop.run().summary.unchanged == len(PRODUCTS)
    assert list(server.shared.iterdir()) == []
    assert not shop.verify().differing
