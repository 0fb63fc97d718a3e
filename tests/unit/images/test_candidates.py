"""A product with several images gets the first that is usable; the next one only if one is unusable for good."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from PIL import Image
from support.http_server import Answer

from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped
from ingest.core.settings import Settings
from ingest.embedding.preprocess import CLIP
from ingest.images.cache.cache import ImageCache
from ingest.images.stage import ImageStage

BROKEN = b"no image any more" * 20


@pytest.fixture
def settings(tmp_path):
    return Settings(catalog=tmp_path / "products.csv", download_missing=True, allow_private=True, download_tries=1)


def product(*images, product_id="P1"):
    return Product(product_id, images[0], {"image": images[0], "title": images[0]}, 1, "", tuple(images[1:]))


class Shop:
    """A data folder that is opened anew for each run, as a nightly job does."""

    def __init__(self, folder, settings):
        self.folder = folder
        self.settings = settings

    def look(self, *products, **changes):
        """Return what a driver sees, which leaves to workers what it does not find in place."""
        with (
            ImageCache(self.folder / "cache") as cache,
            ImageStage(replace(self.settings, **changes), cache, fields=("image",)) as images,
        ):
            return [record for block in images.look(products) for record in block]

    def run(self, *products, decodes=True, download=True, known=None, **changes):
        """Return what comes of products, and how many images were decoded."""
        with (
            ImageCache(self.folder / "cache") as cache,
            ImageStage(replace(self.settings, **changes), cache, fields=("image",)) as images,
        ):
            decoder = images.decoder(CLIP)
            options = {} if known is None else {"is_known": known}
            found = list(images.find(products, download=download, decoder=decoder if decodes else None, **options))
            return decoder(found) if decodes else found


@pytest.fixture
def shop(tmp_path, settings):
    return Shop(tmp_path, settings)


@pytest.fixture
def broken(jpeg):
    """A file that begins as a JPEG and is none, for good."""
    return jpeg[:20] + BROKEN + jpeg[-2:]


def test_the_first_that_exists_is_taken_and_the_fields_name_it(shop, server, jpeg):
    good = server.serve("/good", Answer(jpeg))
    [found] = shop.run(product(server.url("/missing"), "missing.jpg", good, server.serve("/last", Answer(jpeg))))
    assert isinstance(found, Decoded)
    assert (found.product.image, found.product.position, found.product.metadata["image"]) == (good, 2, good)
    assert found.product.metadata["title"] == server.url("/missing"), "a field that is not the image's stays"
    assert server.asked("/last") == 0


@pytest.mark.parametrize("answer", [Answer(status=503), Answer(status=429), Answer(b"")])
def test_what_may_be_usable_later_is_waited_for(shop, server, jpeg, answer):
    first, second = server.serve("/a", answer), server.serve("/b", Answer(jpeg))
    [skipped] = shop.run(product(first, second))
    assert skipped.reason.is_transient
    assert server.asked("/b") == 0
    server.serve("/a", Answer(jpeg))
    [found] = shop.run(product(first, second))
    assert found.product.position == 0


def test_without_downloads_the_second_does_not_stand_in_for_the_first(shop, server, jpeg, tmp_path):
    (tmp_path / "b.jpg").write_bytes(jpeg)
    [skipped] = shop.run(product(server.serve("/a", Answer(jpeg)), "b.jpg"), download=False)
    assert skipped.reason is Reason.NOT_DOWNLOADED


@pytest.mark.parametrize("place", ["url", "file"])
def test_bytes_that_are_no_image_pass_to_the_next_and_that_is_remembered(shop, server, jpeg, broken, tmp_path, place):
    (tmp_path / "a.jpg").write_bytes(broken)
    first = server.serve("/a", Answer(broken)) if place == "url" else "a.jpg"
    second = server.serve("/b", Answer(jpeg))
    [found] = shop.run(product(first, second))
    assert isinstance(found, Decoded)
    assert found.product.image == second
    for options in ({}, {"decodes": False}, {"decodes": False, "download": False}):
        [again] = shop.run(product(first, second), **options)
        assert again.product.image == second
    assert server.asked("/a") == (place == "url")
    assert server.asked("/b") == 1


def test_a_url_that_failed_for_good_is_not_asked_again_until_that_is_wanted(shop, server, jpeg):
    first, second = server.url("/a"), server.serve("/b", Answer(jpeg))
    for _ in range(3):
        [found] = shop.run(product(first, second))
        assert found.product.image == second
    assert (server.asked("/a"), server.asked("/b")) == (1, 1)
    server.serve("/a", Answer(jpeg))
    [found] = shop.run(product(first, second), retry_failed=True)
    assert found.product.image == first
    [found] = shop.run(product(first, second))
    assert found.product.image == first
    assert server.asked("/a") == 2


def test_a_retry_that_fails_keeps_the_image_in_use(shop, server, jpeg):
    first, second = server.url("/a"), server.serve("/b", Answer(jpeg))
    for options in ({}, {"retry_failed": True}, {}):
        [found] = shop.run(product(first, second), **options)
        assert found.product.image == second
    server.serve("/a", Answer(status=503))
    assert isinstance(shop.run(product(first, second), retry_failed=True)[0], Skipped)
    [found] = shop.run(product(first, second))
    assert found.product.image == second
    assert (server.asked("/a"), server.asked("/b")) == (3, 1)


def test_an_image_that_is_too_small_is_asked_once_and_again_with_other_limits(shop, server, photo, jpeg):
    with io.BytesIO() as file:
        Image.new("RGB", (8, 8), "red").save(file, "PNG")
        small = server.serve("/small", Answer(file.getvalue()))
    large = server.serve("/large", Answer(jpeg))
    for _ in range(2):
        [found] = shop.run(product(small, large), min_side=16)
        assert found.product.image == large
    assert (server.asked("/small"), server.asked("/large")) == (1, 1)
    [found] = shop.run(product(small, large))
    assert found.product.image == small


def test_an_image_at_a_blocked_address_is_passed_until_other_addresses_are_allowed(shop, server, jpeg):
    first, second = server.serve("/a", Answer(jpeg)).replace("127.0.0.1", "localhost"), server.serve("/b", Answer(jpeg))
    refused = {"allow_private": False, "allow_host": "127.0.0.1"}
    for options in ({}, {"download": False}, {"download": False, "decodes": False}):
        [found] = shop.run(product(first, second), **refused, **options)
        assert found.product.image == second
    assert (server.asked("/a"), server.asked("/b")) == (0, 1)
    [found] = shop.run(product(first, second))
    assert found.product.image == first


@pytest.mark.parametrize("second", ["/b", "b.jpg"])
def test_a_driver_finds_the_image_in_use_behind_a_url_that_is_unusable(shop, server, jpeg, tmp_path, second):
    (tmp_path / "b.jpg").write_bytes(jpeg)
    if second == "/b":
        second = server.serve(second, Answer(jpeg))
    one = product(server.url("/a"), second, server.url("/c"))
    assert shop.look(one) == [one], "nothing is known yet"
    shop.run(one)
    [found] = shop.look(one)
    assert isinstance(found, ImageFile)
    assert (found.product.image, found.product.position, found.product.metadata["image"]) == (second, 1, second)
    assert shop.look(one, min_side=16) == [found]
    assert isinstance(shop.look(one, min_side=500)[0], Product), "a worker tries the next one"
    assert shop.look(one, retry_failed=True) == [one]
    assert shop.look(product(second, server.url("/c"))) == [found._replace(product=product(second, server.url("/c")))]
    moved = product(server.url("/a"), server.url("/elsewhere"))
    assert shop.look(moved) == [moved]


def test_if_none_is_usable_the_last_one_says_why(shop, server, broken):
    first, second = server.serve("/a", Answer(broken)), server.url("/b")
    for _ in range(2):
        [skipped] = shop.run(product(first, second))
        assert (skipped.reason, "/b" in skipped.detail) == (Reason.NOT_FOUND, True)
    assert (server.asked("/a"), server.asked("/b")) == (1, 1)


def test_nothing_is_decoded_that_the_store_has(shop, server, jpeg):
    asked = []

    def known(images):
        asked.extend(image.product.image for image in images)
        return [True] * len(images)

    first, second = server.url("/a"), server.serve("/b", Answer(jpeg))
    [found] = shop.run(product(first, second), decodes=False, known=known)
    assert isinstance(found, ImageFile)
    assert (found.decoded, asked) == (None, [])


def test_products_with_one_image_and_with_several_keep_the_catalogs_order(shop, server, jpeg, tmp_path, broken):
    (tmp_path / "a.jpg").write_bytes(jpeg)
    (tmp_path / "bad.jpg").write_bytes(broken)
    url = server.serve("/a", Answer(jpeg))
    products = [
        product(*[("a.jpg",), (server.url("/missing"), url), ("bad.jpg", "a.jpg"), ("bad.jpg",)][number % 4],
                product_id=f"P{number}")
        for number in range(80)
    ]  # fmt: skip
    found = shop.run(*products)
    names = [record.product_id if isinstance(record, Skipped) else record.product.product_id for record in found]
    assert names == [f"P{number}" for number in range(80)]
    assert [isinstance(record, Decoded) for record in found] == [number % 4 != 3 for number in range(80)]
    assert server.asked("/missing") == 1
    assert server.asked("/a") == 1
