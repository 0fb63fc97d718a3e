"""The decode stage: ImageFile in, Decoded or Skipped out; large JPEGs decoded smaller."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.image_files import saved
from support.reading import decode_one

from ingest.core.records import Decoded, ImageFile, Product, Reason, Skipped, Stage
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.sandbox import Sandbox


@pytest.fixture
def image_file(tmp_path, jpeg):
    path = tmp_path / "P1.jpg"
    path.write_bytes(jpeg)
    return ImageFile(Product("P1", "P1.jpg", {}, 7), path, hashlib.sha256(jpeg).digest())


def square(image):
    return np.asarray(ImageOps.fit(image, (8, 8)))


def test_images_are_decoded_and_other_records_pass(image_file):
    decoded = decode_one(image_file, square)
    assert isinstance(decoded, Decoded)
    assert (decoded.pixels.shape, decoded.pixels.dtype) == ((8, 8, 3), np.uint8)
    assert (decoded.product, decoded.sha256) == (image_file.product, image_file.sha256)
    skipped = Skipped("P2", Stage.IMAGES, Reason.NOT_FOUND, "gone", 8)
    assert decode_one(skipped, square) is skipped
    assert decode_one(decoded, square) is decoded
    assert decode_one(image_file._replace(decoded=decoded), square) is decoded


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_the_pixel_limit_is_a_setting_also_in_the_sandbox(tmp_path, photo, kind):
    path, pixels = tmp_path / "image", photo.width * photo.height
    path.write_bytes(saved(photo, kind))
    image_file = ImageFile(Product("P1", "", {}, 1), path, hashlib.sha256(path.read_bytes()).digest())
    with Sandbox() as sandbox:
        assert isinstance(decode_one(image_file, square, sandbox, max_pixels=pixels), Decoded)
        skipped = decode_one(image_file, square, sandbox, max_pixels=pixels - 1)
    assert skipped.reason == Reason.TOO_LARGE
    assert skipped.detail.endswith("megapixels; make it smaller, or raise --max-pixels")


def test_a_broken_image_is_skipped_by_name(image_file):
    content = image_file.path.read_bytes()[:700]
    image_file.path.write_bytes(content)
    broken = ImageFile(image_file.product, image_file.path, hashlib.sha256(content).digest())
    skipped = decode_one(broken, square)
    assert (skipped.stage, skipped.reason, skipped.line) == (Stage.DECODE, Reason.TRUNCATED, 7)
    assert skipped.detail.startswith(str(image_file.path))


def test_an_image_that_changed_since_it_was_hashed_is_not_decoded(image_file, other_jpeg):
    image_file.path.write_bytes(other_jpeg)
    skipped = decode_one(image_file, square)
    assert skipped.reason.is_transient
    assert "changed" in skipped.detail


def test_a_bug_in_the_preprocessing_is_not_blamed_on_the_image(image_file):
    with pytest.raises(ZeroDivisionError):
        decode_one(image_file, lambda _: 1 // 0)


def preprocessed(path, draft_side):
    """Decode a file as the stage does, and return the arguments of the preprocessing."""
    given = []
    image_file = ImageFile(Product("P1", "", {}, 1), path, hashlib.sha256(path.read_bytes()).digest())
    decode_one(image_file, lambda *arguments: given.append(arguments), draft_side=draft_side)
    return given[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_large_jpeg_is_decoded_smaller_and_keeps_its_place(tmp_path, photo, orientation):
    exif = Image.Exif()
    exif[0x112] = orientation
    photo.resize((801, 533)).save(tmp_path / "a.jpg", exif=exif)
    whole = open_rgb(tmp_path / "a.jpg")
    image, size, box = preprocessed(tmp_path / "a.jpg", 100)
    assert size == whole.size
    assert min(image.size) == 134  # a quarter, rounded up
    shown = [np.asarray(one.resize((60, 60), 3, part), np.float64) for one, part in ((image, box), (whole, None))]
    assert np.abs(shown[0] - shown[1]).mean() < 1


@pytest.mark.parametrize(
    ("side", "draft_side", "expected"), [(799, 400, 799), (800, 400, 400), (800, 0, 800), (90, 200, 90)]
)
def test_no_side_becomes_smaller_than_the_draft_side(tmp_path, photo, side, draft_side, expected):
    photo.resize((side, side)).save(tmp_path / "a.jpg")
    assert preprocessed(tmp_path / "a.jpg", draft_side)[0].size == (expected, expected)


@pytest.mark.parametrize(("name", "size"), [("a.png", (800, 800)), ("a.jpg", (4000, 400)), ("a.tiff", (800, 800))])
def test_strips_and_other_formats_are_decoded_in_full(tmp_path, photo, name, size):
    photo.resize(size).save(tmp_path / name)
    (image,) = preprocessed(tmp_path / name, 100)
    assert image.size == size
