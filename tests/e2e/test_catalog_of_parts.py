"""`ingest` over a catalog of several files: the whole command, from a glob to rows and a report."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.shop import Shop, sample_products, write_csv

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS = 12


def test_a_glob_of_parts_fills_the_collection_and_a_skip_names_its_file(model: Path, tmp_path: Path) -> None:
    shop = Shop(tmp_path / "shop", model)
    products = sample_products(PRODUCTS)
    shop.stock(products)
    (shop.folder / "products.csv").unlink()
    write_csv(shop.folder / "export-1.csv", products[:5])
    write_csv(shop.folder / "export-2.csv", [*products[5:], products[0]])
    write_csv(shop.folder / "_export-3.csv", products[:1])

    summary = shop.run("--catalog", "export-*.csv")
    assert (summary["products"], summary["upserted"], summary["skipped"]) == (PRODUCTS + 1, PRODUCTS, 1)
    (skipped,) = shop.skipped(summary)
    assert (skipped["file"], skipped["line"]) == ("export-2.csv", str(PRODUCTS - 5 + 2))
    assert skipped["detail"] == "first seen in line 2 of export-1.csv"
    assert set(shop.rows()) == {product["product_id"] for product in products}

    (shop.folder / "export-2.csv").write_text('product_id,"image', encoding="utf-8")
    ended = shop.ingest("run", "--catalog", "export-*.csv", "--prune")
    assert ended.code == 3
    assert "export-2.csv line 1: a quoted cell is not closed" in ended.err
    assert len(shop.rows()) == PRODUCTS
