"""Products with several images: the first usable one is in the collection, in the files, and what verify expects."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow.parquet
import pytest
from support.http_server import Server
from support.shop import write_csv
from support.small_shop import SmallShop, picture_vector

from ingest.core import contract_file

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> SmallShop:
    shop = SmallShop(tmp_path / "shop")
    shop.stock({"drawn": (1, ""), "other": (2, ""), "broken": (None, "")})
    schema = tmp_path / "products.toml"
    text = contract_file.default_path().read_text(encoding="utf-8")
    schema.write_text(f'{text}\n[images]\ncolumns = ["image", "more"]\nseparator = ","\n', encoding="utf-8")
    shop.settings = replace(shop.settings, schema=schema, parquet=True)
    rows = [
        {"product_id": "P1", "image": "images/none.png, images/broken.png", "more": "images/1.png", "title": "one"},
        {"product_id": "P2", "image": "images/2.png,images/1.png", "more": "", "title": "two"},
        {"product_id": "P3", "image": "images/none.png", "more": "images/broken.png", "title": "three"},
    ]
    write_csv(shop.settings.catalog, rows)
    return shop


def test_the_first_usable_image_is_the_products(shop: SmallShop) -> None:
    outcome = shop.run(exports=True)
    assert (outcome.summary.upserted, outcome.summary.skipped) == (2, 1)
    rows = shop.rows()
    assert {name: row["image"] for name, row in rows.items()} == {"P1": "images/1.png", "P2": "images/2.png"}
    for name, picture in (("P1", 1), ("P2", 2)):
        np.testing.assert_allclose(rows[name]["embedding"], picture_vector("model-1", picture), atol=1e-6)
    table = pyarrow.parquet.read_table(shop.settings.parquet_file)
    assert table.select(["product_id", "image"]).to_pylist() == [
        {"product_id": "P1", "image": "images/1.png"}, {"product_id": "P2", "image": "images/2.png"},
    ]  # fmt: skip
    assert shop.verify(exports=True).differing == []


def test_a_plan_says_what_the_first_night_does_and_changes_nothing(shop: SmallShop) -> None:
    before = sorted(shop.folder.rglob("*"))
    planned = shop.plan(exports=True)
    assert (planned.added, planned.skipped, planned.embed) == (2, 1, 2)
    assert sorted(shop.folder.rglob("*")) == before
    run = shop.run(exports=True).summary
    assert (run.added, run.skipped, run.embedded) == (2, 1, 2)
    again = shop.plan(exports=True)
    assert (again.added, sum(again.changed.values()), again.unchanged, again.skipped) == (0, 0, 2, 1)


def test_a_second_night_embeds_and_writes_nothing(shop: SmallShop) -> None:
    shop.run(exports=True)
    embedded = shop.embedded
    again = shop.run(exports=True)
    assert (again.summary.upserted, again.summary.unchanged, shop.embedded) == (0, 2, embedded)


def test_a_second_night_on_ray_asks_nothing_of_the_cluster(shop: SmallShop) -> None:
    server = Server()
    try:
        rows = [{"product_id": "P1", "image": server.url("/none"), "more": "images/1.png", "title": "one"}]
        write_csv(shop.settings.catalog, rows)
        night = {"download_missing": True, "allow_private": True}
        assert shop.run(**night).summary.added == 1
        again = shop.run(**night, engine="ray", address="127.0.0.1:1")  # where nothing listens
        assert (again.failure, again.summary.unchanged, server.asked("/none")) == (None, 1, 1)
    finally:
        server.stop()


def test_an_image_that_becomes_usable_is_taken(shop: SmallShop) -> None:
    shop.run(exports=True)
    shop.redraw(1, 1)
    (shop.settings.catalog.parent / "images" / "none.png").write_bytes(
        (shop.settings.catalog.parent / "images" / "2.png").read_bytes()
    )
    assert shop.run(exports=True).summary.upserted == 2
    assert {name: row["image"] for name, row in shop.rows().items()} == {
        "P1": "images/none.png", "P2": "images/2.png", "P3": "images/none.png",
    }  # fmt: skip
    assert shop.verify(exports=True).differing == []
