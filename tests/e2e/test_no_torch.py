"""Without torch the preprocessed images are saved, the next run with torch uses them, and the rest works."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image
from support.shop import Shop, sample_products, without_torch

if TYPE_CHECKING:
    from pathlib import Path

    from e2e.conftest import Finished

PRODUCTS = 40


def saved(shop: Shop) -> list[Path]:
    return sorted(shop.data.glob("preprocessed/**/*.npy"))


@pytest.mark.parametrize("command", ["embed", "run"])
def test_pictures_are_saved_instead_and_the_exit_code_is_9(new_shop: Shop, command: str) -> None:
    new_shop.stock(sample_products(PRODUCTS))

    ended = new_shop.ingest(command, **without_torch())

    assert (ended.code, ended.out) == (9, "")
    assert len(ended.said) == 1
    assert "No module named 'torch'" in ended.said[0]
    assert f"{PRODUCTS} preprocessed images are saved under" in ended.said[0]
    assert "pip install torch" in ended.said[0]
    assert len(saved(new_shop)) == PRODUCTS
    assert not new_shop.npy.exists()
    pixels = np.load(saved(new_shop)[0])
    assert (pixels.dtype, pixels.ndim, pixels.shape[2]) == (np.uint8, 3, 3)


def test_the_next_run_with_torch_embeds_what_was_saved(new_shop: Shop, finished: Finished) -> None:
    new_shop.stock(sample_products(PRODUCTS))
    new_shop.ingest("embed", **without_torch())
    darkened = np.load(saved(new_shop)[0]) // 2  # which only a run that reads it can know
    np.save(saved(new_shop)[0], darkened)

    summary = new_shop.run()

    assert summary["embedded"] == PRODUCTS
    vectors, expected = np.load(new_shop.npy), np.load(finished.shop.npy)
    assert (vectors == expected).all(axis=1).sum() == PRODUCTS - 1
    assert saved(new_shop) == [], "what is embedded need not be kept"


def test_saving_goes_on_where_it_was(new_shop: Shop) -> None:
    new_shop.stock(sample_products(6))
    new_shop.ingest("embed", "--sample", "4", **without_torch())
    times = {path: path.stat().st_mtime_ns for path in saved(new_shop)}

    ended = new_shop.ingest("embed", **without_torch())

    assert ended.code == 9
    assert len(times) == 4
    assert len(saved(new_shop)) == 6
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_only_what_has_no_vector_yet_is_saved(shop: Shop) -> None:
    with Image.open(shop.images / "P0002.jpg") as image:
        image.transpose(Image.Transpose.ROTATE_180).save(shop.images / "P0002.jpg")

    ended = shop.ingest("run", **without_torch())

    assert ended.code == 9
    assert "1 preprocessed image is saved" in ended.said[0]


def test_what_needs_no_model_works(shop: Shop) -> None:
    products = sample_products(PRODUCTS)
    products[0]["price"] = "1.00"
    before = shop.exports

    assert shop.run(**without_torch())["unchanged"] == PRODUCTS
    shop.stock(products)
    assert shop.run(**without_torch())["upserted"] == 1
    assert len(shop.search("--product", "P0001", **without_torch())) == 10
    assert shop.ingest("export", **without_torch()).code == 0
    assert shop.exports == before
    assert shop.ingest("run", "--help", **without_torch()).code == 0


def test_what_needs_the_model_says_so(shop: Shop) -> None:
    ended = shop.ingest("search", "mug", **without_torch())

    assert (ended.code, ended.out) == (9, "")
    assert len(ended.said) == 1
    assert "No module named 'torch'" in ended.said[0]
