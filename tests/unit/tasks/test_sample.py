"""An estimate measures a sample of the catalog, with the real sample model, and changes nothing."""

from __future__ import annotations

import gzip
import json
import time
from typing import TYPE_CHECKING

import pytest
from support.shop import Shop, copied_sample_model, sample_products

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    shop = Shop(tmp_path / "shop", copied_sample_model(tmp_path / "clip"))
    shop.stock(sample_products(30))
    return shop


def test_an_estimate_gives_sizes_and_their_formulas(shop: Shop) -> None:
    began = time.monotonic()
    ended = shop.ingest("plan", "--estimate", "--json")
    took_s = time.monotonic() - began
    assert ended.code == 0, ended.err
    found = ended.json
    sizes = [path.stat().st_size for path in shop.images.glob("*")]
    assert (found["catalog"]["products"], found["sampled"], found["pictures"], found["fetched"]) == (30, 30, 30, 0)
    assert found["catalog"]["picture_bytes"] == pytest.approx(sum(sizes) / len(sizes))
    for part, rate in (("decode", "decoded_per_s"), ("embed", "embedded_per_s")):
        seconds = found["figures"][part]["value"] * 3600
        assert seconds == pytest.approx(30 / found["catalog"][rate])
        assert 0 < seconds < took_s, "all 30 images were decoded and embedded while the command ran"
    assert found["figures"]["vectors"]["value"] == pytest.approx(30 * 4 * 128 / 1e9)
    assert all(figure["formula"] for figure in found["figures"].values())
    assert not (shop.data / "milvus.db").exists()
    assert shop.stored() == 0

    shown = shop.ingest("plan", "--estimate", "--details").out
    assert shown.startswith("30 products with ")
    assert "N × (4 dim + 8 M" in shown
    assert "--download-missing measures it" in shown


def test_the_products_of_a_compressed_catalog_are_counted_by_reading_it(shop: Shop) -> None:
    packed = shop.folder / "products.csv.gz"
    packed.write_bytes(gzip.compress((shop.folder / "products.csv").read_bytes()))
    ended = shop.ingest("plan", "--estimate", "--json", "--catalog", packed)
    assert json.loads(ended.out)["catalog"]["products"] == 30
