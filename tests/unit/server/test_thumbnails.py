"""Pictures of the catalog are shown as the last run saw them, and nothing else is."""

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
def shown(shop):
    with Sandbox() as sandbox:
        yield Thumbnails(shop.settings.data / "image_cache", sandbox)


def test_a_picture_is_made_small_and_told_apart_by_its_tag(shown) -> None:
    content, tag = shown.jpeg("a", 4)
    assert Image.open(io.BytesIO(content)).size == (4, 4)
    assert shown.jpeg("a", 4) == (content, tag)
    assert shown.jpeg("a", 8)[1] != tag
    assert shown.jpeg("b/../c", 8)[0]


@pytest.mark.parametrize("product_id", ["nobody", "x", "../a", "b", "", "a\0"])
def test_what_is_no_product_with_a_picture_has_none(shown, product_id) -> None:
    with pytest.raises(NotFoundError):
        shown.jpeg(product_id, 8)


def test_another_file_in_its_place_is_not_shown(shop, shown, tmp_path) -> None:
    picture = shop.folder / "images" / "1.png"
    secret = tmp_path / "secret.png"
    Image.new("RGB", (8, 8)).save(secret)
    picture.unlink()
    picture.symlink_to(secret)
    with pytest.raises(NotFoundError, match="changed or is gone"):
        shown.jpeg("a", 8)
    picture.unlink()
    with pytest.raises(NotFoundError, match="changed or is gone"):
        shown.jpeg("a", 16)


def test_without_a_cache_there_are_no_pictures(tmp_path) -> None:
    with Sandbox() as sandbox, pytest.raises(NotFoundError):
        Thumbnails(tmp_path / "nowhere", sandbox).jpeg("a", 8)
