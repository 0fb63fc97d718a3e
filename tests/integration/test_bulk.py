"""First loads by the import job of a real server that shares a folder with the test."""

from __future__ import annotations

import logging
import math
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from milvus_container import running_milvus
from shop import contract_in, rows_of
from small_shop import SmallShop

from ingest.errors import InterruptedRunError
from ingest.sinks.milvus import bulk

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.sinks.milvus.collection import Collection

THERE = "/import"
PRODUCTS = {f"P{number}": (number % 7, f"Prodüct {number}") for number in range(40)}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("shared")
    folder.chmod(0o777)
    return folder


@pytest.fixture(scope="module")
def uri(shared: Path) -> Iterator[str]:
    with running_milvus({str(shared): THERE}) as uri:
        yield uri


def shop_in(folder: Path, uri: str, alias: str, **settings: object) -> SmallShop:
    shop = SmallShop(folder, uri, schema=contract_in(folder, alias), **settings)
    priced(shop, PRODUCTS)
    return shop


def priced(shop: SmallShop, products: dict[str, tuple[int | None, str]]) -> None:
    """Stock the shop; every fourth product's price is not known, and every product has a column of no field."""
    shop.stock(products)
    path = shop.settings.catalog
    head, *lines = path.read_text(encoding="utf-8").splitlines()
    rows = [f"{line},{number if number % 4 else ''},red {number}" for number, line in enumerate(lines)]
    path.write_text("\n".join([f"{head},price,other", *rows]), encoding="utf-8")


def test_an_import_leaves_the_rows_that_upserts_leave(
    uri: str, shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    monkeypatch.setattr(bulk, "FILE_BYTES", 8000)  # several files
    shop = shop_in(tmp_path / "a", uri, "imported", load="bulk", bulk_folder=shared, bulk_path=THERE)
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run().summary.upserted == len(PRODUCTS)
    assert caplog.text == ""
    assert list(shared.iterdir()) == []
    upserted = shop_in(tmp_path / "b", uri, "upserted", load="upsert")
    upserted.run()
    imported, others = rows_of(uri, "imported"), rows_of(uri, "upserted")
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
    assert rows_of(uri, "imported")["P1"]["title"] == "changed"
    assert not shop.verify().differing, "what was there was upserted, not added a second time"


def test_files_that_the_server_does_not_see_are_upserted_and_why_is_said(
    uri: str, shared: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shop = shop_in(tmp_path, uri, "elsewhere", load="auto", bulk_folder=shared, bulk_path="/nowhere")
    with caplog.at_level(logging.WARNING, "ingest"):
        assert shop.run().summary.upserted == len(PRODUCTS)
    assert "no such file or directory" in caplog.text
    assert "the rows are upserted" in caplog.text
    assert not shop.verify().differing


def test_a_job_that_a_killed_run_left_behind_is_waited_for(
    uri: str, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = shop_in(tmp_path, uri, "left", load="bulk", bulk_folder=shared, bulk_path=THERE)
    asked = bulk._asked

    def killed(path: str, collection: Collection) -> int:
        shutil.copy(shared / Path(path).name, shared / "left.parquet")
        asked(f"{THERE}/left.parquet", collection)
        raise InterruptedRunError("killed")

    with monkeypatch.context() as patch, pytest.raises(InterruptedRunError):
        patch.setattr(bulk, "_asked", killed)
        shop.run()
    assert shop.run().summary.unchanged == len(PRODUCTS)
    assert not shop.verify().differing
