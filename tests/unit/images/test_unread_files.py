"""Local files that the index does not know: read once, and decoded on the same occasion if they are needed."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from support.image_files import saved

from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped, Stage
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import ThreadDecoder
from ingest.images.decode.stage import Decoder
from ingest.images.resolver import UnreadFile
from ingest.images.unread_files import UnreadFiles

SKIPPED = Skipped("s", Stage.CATALOG, Reason.NO_ID, "", 9)


def decoder() -> Decoder:
    return Decoder(ThreadDecoder(ModelPixels(lambda image: np.asarray(image, np.uint8))))


@pytest.fixture
def block(tmp_path, jpeg, other_jpeg):
    """An image, another one, a torn one, a missing one, and a record that is no file."""
    contents = {"P0": jpeg, "P1": other_jpeg, "P2": jpeg[:20] + b"no image any more" * 20 + jpeg[-2:]}
    for name, content in contents.items():
        (tmp_path / f"{name}.jpg").write_bytes(content)
    made = [UnreadFile(Product(f"P{n}", f"P{n}.jpg", {}, n + 2), tmp_path / f"P{n}.jpg") for n in range(4)]
    return [made[0], SKIPPED, *made[1:]]


def test_without_a_decoder_files_are_read_and_recorded_in_order(cache, block, jpeg):
    first, skipped, second, torn, missing = UnreadFiles(cache)(block)
    assert (first.sha256, first.decoded) == (hashlib.sha256(jpeg).digest(), None)
    assert skipped is SKIPPED
    assert [second.product.product_id, torn.product.product_id] == ["P1", "P2"]
    assert (missing.reason, missing.product_id) == (Reason.NOT_FOUND, "P3")
    assert UnreadFiles(cache)(block) == [first, skipped, second, torn, missing]
    assert [cache.get(f"P{number}") is None for number in range(4)] == [False, False, False, True]


def test_images_that_are_not_known_are_decoded_on_the_same_occasion(cache, block, photo):
    first, _, second, torn, missing = UnreadFiles(cache, decoder())(block)
    assert isinstance(first.decoded, Decoded)
    assert first.decoded.pixels.shape == (photo.height, photo.width, 3)
    assert (first.decoded.product, first.decoded.sha256) == (first.product, first.sha256)
    assert second.decoded.product == second.product
    assert not np.array_equal(first.decoded.pixels, second.decoded.pixels)
    assert (torn.decoded.stage, torn.decoded.product_id) == (Stage.DECODE, "P2")
    assert missing.reason == Reason.NOT_FOUND
    again = UnreadFiles(cache, decoder())(block)
    assert [one.decoded for one in again if isinstance(one, ImageFile)] == [None] * 3, "the index knows them now"


def test_images_that_are_known_are_not_decoded(cache, block):
    asked = []

    def only_the_second(images):
        asked.extend(images)
        return [image.product.product_id == "P1" for image in images]

    first, _, second, torn, _ = UnreadFiles(cache, decoder(), only_the_second)(block)
    assert [image.product.product_id for image in asked] == ["P0", "P1", "P2"]
    assert [first.decoded is None, second.decoded is None, torn.decoded is None] == [False, True, False]


def test_an_answer_for_fewer_images_than_were_asked_about_is_an_error(cache, block):
    with pytest.raises(ValueError, match="shorter"):
        UnreadFiles(cache, decoder(), lambda images: [True] * (len(images) - 1))(block)


def test_a_file_with_a_name_that_no_file_can_have_is_skipped(cache, tmp_path, photo):
    (tmp_path / "a.png").write_bytes(saved(photo, "PNG"))
    odd = UnreadFile(Product("odd", "a\0b.png", {}, 2), tmp_path / "a\0b.png")
    good = UnreadFile(Product("good", "a.png", {}, 3), tmp_path / "a.png")
    skipped, found = UnreadFiles(cache, decoder())([odd, good])
    assert isinstance(skipped, Skipped)
    assert skipped.product_id == "odd"
    assert isinstance(found.decoded, Decoded)
