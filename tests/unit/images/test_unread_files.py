"""Local files that the index does not know: read once, recorded, and decoded if nothing knows their image."""

from __future__ import annotations

import errno
import hashlib

import pytest
from support.image_files import saved

from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped, Stage
from ingest.embedding.preprocess import CLIP
from ingest.images.decode import on_threads
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import ThreadDecoder
from ingest.images.decode.stage import Decoder
from ingest.images.resolver import UnreadFile
from ingest.images.unread_files import UnreadFiles

OTHER = Skipped("S", Stage.CATALOG, Reason.NO_ID, "no id", 9)


@pytest.fixture
def files(tmp_path, photo):
    """Four files: two images, one that is no image, and one that does not exist."""
    contents = {"A": saved(photo, "JPEG"), "B": saved(photo.rotate(90), "PNG"), "text": b"no image"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    return {name: UnreadFile(Product(name, name, {}, 1), tmp_path / name) for name in [*contents, "gone"]}


@pytest.fixture
def decoder(cache):
    return Decoder(ThreadDecoder(ModelPixels(CLIP)), cache.index.put_contents)


def digest(file):
    return hashlib.sha256(file.path.read_bytes()).digest()


def test_without_a_decoder_files_are_hashed_and_recorded(cache, files):
    block = [files["A"], OTHER, files["gone"], files["text"]]
    image, other, gone, text = UnreadFiles(cache)(block)
    assert image == ImageFile(files["A"].product, files["A"].path, digest(files["A"]))
    assert other is OTHER
    assert gone.reason is Reason.NOT_FOUND
    assert text.sha256 == digest(files["text"]), "what is no image is found when it is decoded"
    assert cache.get("A").sha256 == image.sha256
    assert cache.get("gone") is None


def test_each_file_gets_what_came_of_its_own_decoding(cache, files, decoder):
    one, text, two = UnreadFiles(cache, decoder)([files["A"], files["text"], files["B"]])
    assert isinstance(one.decoded, Decoded)
    assert isinstance(two.decoded, Decoded)
    assert (one.decoded.product, one.decoded.sha256) == (one.product, one.sha256)
    assert (one.decoded.pixels != two.decoded.pixels).any()
    assert (text.decoded.product_id, text.decoded.reason) == ("text", Reason.NOT_AN_IMAGE)
    content = cache.index.content(two.sha256)
    assert (content.width, content.height) == (96, 64)


def test_only_images_that_nothing_knows_are_decoded(cache, files, decoder):
    asked = []

    def is_known(images):
        asked.append([image.product.product_id for image in images])
        return [image.product.product_id == "A" for image in images]

    one, gone, two = UnreadFiles(cache, decoder, is_known)([files["A"], files["gone"], files["B"]])
    assert asked == [["A", "B"]]
    assert one.decoded is None
    assert isinstance(gone, Skipped)
    assert isinstance(two.decoded, Decoded)


def test_a_file_that_fails_while_it_is_read_is_skipped_and_the_others_are_decoded(cache, files, decoder, monkeypatch):
    read = on_threads.read_file

    def failing(path, keep):
        if path.name == "A":
            raise OSError(errno.EIO, "input/output error")
        return read(path, keep)

    monkeypatch.setattr(on_threads, "read_file", failing)
    failed, two = UnreadFiles(cache, decoder)([files["A"], files["B"]])
    assert failed.reason is Reason.UNREADABLE
    assert isinstance(two.decoded, Decoded)
    assert cache.get("A") is None


def test_a_file_whose_row_is_right_is_not_read(cache, files, decoder, monkeypatch):
    UnreadFiles(cache)([files["A"]])
    monkeypatch.setattr(on_threads, "read_file", lambda *_: pytest.fail("it was read"))
    (image,) = UnreadFiles(cache, decoder)([files["A"]])
    assert (image.sha256, image.decoded) == (digest(files["A"]), None)


def test_an_answer_for_fewer_images_than_were_asked_about_is_an_error(cache, files, decoder):
    with pytest.raises(ValueError, match="shorter"):
        UnreadFiles(cache, decoder, lambda images: [True] * (len(images) - 1))([files["A"], files["B"]])


def test_a_file_with_a_name_that_no_file_can_have_is_skipped(cache, files, decoder, tmp_path):
    odd = UnreadFile(Product("odd", "a\0b.png", {}, 2), tmp_path / "a\0b.png")
    skipped, found = UnreadFiles(cache, decoder)([odd, files["B"]])
    assert (skipped.product_id, isinstance(skipped, Skipped)) == ("odd", True)
    assert isinstance(found.decoded, Decoded)
