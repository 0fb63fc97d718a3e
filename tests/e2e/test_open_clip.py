"""A catalog with a checkpoint of each open_clip family: run, search by text and image, verify and serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.open_clip_checkpoints import FAMILIES, write_open_clip
from support.service import serving
from support.shop import Shop, sample_products

if TYPE_CHECKING:
    from pathlib import Path

PRODUCTS = 6


@pytest.mark.parametrize("family", FAMILIES)
def test_a_catalog_is_embedded_searched_verified_and_served(tmp_path: Path, family: str) -> None:
    model = write_open_clip(tmp_path / "model", family)
    shop = Shop(tmp_path / "shop", model)
    products = sample_products(PRODUCTS)
    shop.stock(products)

    summary = shop.run("--dtype", "float32")
    assert (summary["embedded"], summary["upserted"], summary["skipped"]) == (PRODUCTS, PRODUCTS, 0)
    assert shop.run("--dtype", "float32")["unchanged"] == PRODUCTS, "a second run has nothing to do"

    (hit,) = shop.search("--image", products[2]["image"], "--limit", "1")
    assert (hit["product_id"], hit["score"]) == (products[2]["product_id"], pytest.approx(1.0, abs=1e-3))
    by_text = {hit["product_id"]: hit["score"] for hit in shop.search("Red striped mug", "--limit", "6")}
    assert set(by_text) == {product["product_id"] for product in products}
    assert shop.ingest("verify", "--embed", "3").code == 0

    found = shop.ingest("doctor").out
    assert "dimensions, open_clip " in found

    with serving(shop) as service:
        served = {hit["product_id"]: hit["score"] for hit in service.search(text="Red striped mug", limit=6)}
        content = (shop.folder / products[2]["image"]).read_bytes()
        answer = service.ask("POST", "v1/search", files={"picture": content}, data={"query": '{"limit": 1}'})
    assert served == pytest.approx(by_text, abs=0.01)
    assert answer.json()["hits"][0]["product_id"] == products[2]["product_id"]


def test_another_model_fills_a_collection_beside_the_served_one(tmp_path: Path, model: Path) -> None:
    """The upgrade that docs/choosing-a-model.md shows: plan, run, evaluate, and back."""
    shop = Shop(tmp_path / "shop", model)
    shop.stock(sample_products(PRODUCTS))
    shop.run()
    before = shop.rows()
    other = write_open_clip(tmp_path / "other", "siglip")

    plan = shop.ingest("plan", "--json", "--model", other)
    assert (plan.code, plan.json["embed"]) == (0, PRODUCTS)
    summary = shop.run("--model", other)
    assert summary["embedded"] == PRODUCTS
    assert {len(row["embedding"]) for row in shop.rows().values()} == {48}
    assert "was built with other (sha256:" in shop.ingest("search", "mug").err
    assert shop.ingest("rollback").code == 0
    assert shop.rows() == before
