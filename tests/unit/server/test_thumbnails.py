"""Catalog images are served as the last run recorded them, and nothing else is."""

from __future__ import annotations

import io

import pytest
from PIL import Image
from support.small_shop import SmallShop

from ingest.images.decode.sandbox import Sandbox
from ingest.server.responses import NotFoundError
from ingest.server.thumbnails import Thumbnails


@pytest.fixture
def shop(tmp_path) -> SmallShop:
    made = SmallShop(tmp_path)
    made.stock({"a": (1, "one"), "b/../c": (2, "two"), "x": (None, "broken")})
    made.run()
    return made


@pytest.fixture
def thumbnails(shop):
    with Sandbox() as sandbox:
        yield Thumbnails(shop.settings.data / "image_cache", sandbox)


def test_an_image_is_scaled_down_and_has_a_tag_of_its_own(thumbnails) -> None:
    content, tag = thumbnails.jpeg("a", 4)
    assert Image.open(io.BytesIO(content)).size == (4, 4)
    assert thumbnails.jpeg("a", 4) == (content, tag)
    assert thumbnails.jpeg("a", 8)[1] != tag
    assert thumbnails.jpeg("b/../c", 8)[0]


@pytest.mark.parametrize("product_id", ["nobody", "x", "../a", "b", "", "a\0"])
def test_an_id_without_an_image_is_not_found(thumbnails, product_id) -> None:
    with pytest.raises(NotFoundError):
        thumbnails.jpeg(product_id, 8)


def test_another_file_in_its_place_is_not_served(shop, thumbnails, tmp_path) -> None:
    image = shop.folder / "images" / "1.png"
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    image.unlink()
    image.symlink_to(secret)
    with pytest.raises(NotFoundError, match="changed or is gone"):
        thumbnails.jpeg("a", 8)
    image.unlink()
    with pytest.raises(NotFoundError, match="changed or is gone"):
        thumbnails.jpeg("a", 16)


def test_without_a_cache_there_are_no_images(tmp_path) -> None:
    with Sandbox() as sandbox, pytest.raises(NotFoundError):
        Thumbnails(tmp_path / "nowhere", sandbox).jpeg("a", 8)
