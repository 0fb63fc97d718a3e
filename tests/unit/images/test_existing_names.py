"""Paths that name no file: the message says what exists."""

from __future__ import annotations

import unicodedata

import pytest

from ingest.core.records import Product, Reason
from ingest.images import existing_names
from ingest.images.existing_names import ExistingNames
from ingest.images.resolver import ImageResolver
from ingest.images.roots import ImageRoots
from ingest.images.unread_files import UnreadFiles

NFD = unicodedata.normalize("NFD", "Küche.jpg")


@pytest.fixture
def shop(tmp_path, jpeg):
    folder = tmp_path / "shop"
    (folder / "Bilder 1").mkdir(parents=True)
    for name in ("IMG_1.JPG", "my pic.jpg", NFD, "Grün.jpg", "Bilder 1/a.jpg", "red.jpg"):
        (folder / name).write_bytes(jpeg)
    return folder


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("img_1.jpg", "there is 'IMG_1.JPG', in which upper and lower case differ; write it as the file is called"),
        ("my%20pic.jpg", "there is 'my pic.jpg'; write it as the file is called"),
        ("Küche.jpg", f"there is {NFD!r}, whose characters are encoded in another way (NFD); write it as"),
        (unicodedata.normalize("NFD", "Grün.jpg"), "there is 'Grün.jpg', whose characters are encoded in another way"),
        ("grün.JPG", "there is 'Grün.jpg', in which upper and lower case differ"),
        ("bilder%201\\A.jpg", "there is 'Bilder 1/a.jpg'"),
        ("/red.jpg", "there is 'red.jpg' in the catalog's folder"),
        ("~/RED.jpg", "there is 'red.jpg', in which upper and lower case differ"),
        ("blue.jpg", ""),
        ("../shop/red.jpg", ""),
        ("Bilder 1/b.jpg", ""),
        ("a\0b", ""),
        ("", ""),
    ],
)
def test_a_name_that_is_nearly_right_is_named(shop, image, said):
    found = ExistingNames([shop]).describe(image)
    assert found.startswith(said)
    assert bool(found) == bool(said)


def test_a_large_folder_is_not_kept_in_memory(shop, monkeypatch):
    monkeypatch.setattr(existing_names, "_NAMES", 3)
    assert ExistingNames([shop]).describe("img_1.jpg") == ""


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("//cdn.shop.example/a.jpg", "a URL without its scheme; write https://cdn.shop.example/a.jpg"),
        ("//127.0.0.1:8080/a.jpg?size=l", "a URL without its scheme; write https://127.0.0.1:8080/a.jpg"),
        ("www.shop.example/a.jpg", "a URL without its scheme; write https://www.shop.example/a.jpg"),
        ("WWW.Shop.example/a.jpg", "a URL without its scheme; write https://WWW.Shop.example/a.jpg"),
        ("127.0.0.1:8080/a.jpg", "no such file; if it is a URL, write https://127.0.0.1:8080/a.jpg"),
        ("cdn.shop.example/a.jpg", "no such file; if it is a URL, write https://cdn.shop.example/a.jpg"),
        ("Bilder 1/b.jpg", "no such file; correct the path, or put the file there"),
        ("images.2024/b.jpg", "no such file; correct the path, or put the file there"),
        ("b.jpg", "no such file; correct the path, or put the file there"),
        ("img_1.jpg", "no such file, but there is 'IMG_1.JPG', in which upper and lower case differ; write it as"),
        ("/red.jpg", "no such file, but there is 'red.jpg' in the catalog's folder; write it as the file is called"),
    ],
)
def test_a_skipped_product_says_what_may_be_meant(cache, shop, image, said):
    resolve, read = ImageResolver(cache, None, ImageRoots([shop])), UnreadFiles(cache)
    [skipped] = read([resolve(Product("P1", image, {}, 7))])
    assert said in skipped.detail
    assert "size=l" not in skipped.detail, "a query may hold a secret"
    assert skipped.reason == Reason.NOT_FOUND
