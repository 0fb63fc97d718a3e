"""JPEGs decoded by simplejpeg: the pixels, and the reasons, that Pillow alone gives."""

from __future__ import annotations

import base64
import io
import os
import struct

import numpy as np
import pytest
import simplejpeg
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from skimage import data
from support.image_files import saved
from support.odd_jpegs import odd_jpeg

from ingest.embedding.preprocess import CLIP
from ingest.images.decode import decoder, jpeg
from ingest.images.decode.errors import UndecodableError

FILES, AT_ONCE = (2000, 100) if os.environ.get("INGEST_SOAK") else (200, 50)
LEAST = (CLIP.least, 48, 0, 100)  # for CLIP, for models of smaller images, and in full

PHOTO = Image.fromarray(data.astronaut()).resize((400, 300))
PIXELS = np.asarray(PHOTO)
SOUND = {
    "4:2:0": saved(PHOTO, "JPEG"),
    "4:4:4": saved(PHOTO, "JPEG", subsampling=0),
    "4:4:0": simplejpeg.encode_jpeg(PIXELS, 90, "RGB", "440"),
    "4:1:1": simplejpeg.encode_jpeg(PIXELS, 90, "RGB", "411"),
    "progressive": saved(PHOTO, "JPEG", progressive=True),
    "restarts": saved(PHOTO, "JPEG", restart_marker_blocks=3),
    "RGB": saved(PHOTO, "JPEG", keep_rgb=True),
    "grey": saved(PHOTO.convert("L"), "JPEG"),
    "two images": saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO]),
    "1 × 1": saved(PHOTO.resize((1, 1)), "JPEG"),
}

ARITHMETIC = base64.b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDABALDA4MChAODQ4SERATGCgaGBYWGDEjJR0oOjM9PDkzODdASFxOQERXRTc4UG1RV19iZ2hnPk1xeXBk"
    "eFxlZ2P/yQALCAAIAAgBAREA/8wABgAQEAX/2gAIAQEAAD8A/NNWP0k0UP/Z"
)
"""8 × 8 greys by `cjpeg -arithmetic`. Pillow (13.0.0) refuses such files of more than 64 kB, simplejpeg does not."""


def opened(content):
    """Return what Pillow reads in the header: mode and size."""
    with Image.open(io.BytesIO(content)) as image:
        return image.mode, image.size


def by_pillow(content, factor):
    with Image.open(io.BytesIO(content)) as image:
        if factor > 1:
            image.draft(None, (image.width // factor, image.height // factor))
        return np.asarray(image)


@pytest.mark.parametrize("factor", [1, 2, 4, 8])
@pytest.mark.parametrize("kind", SOUND)
def test_a_sound_file_is_decoded_without_pillow_and_alike(kind, factor):
    mode, size = opened(SOUND[kind])
    if min(size) < 8 * factor and factor > 1:
        pytest.skip("too small to be decoded smaller")
    decoded = jpeg.decode_jpeg(SOUND[kind], mode, size, factor)
    assert decoded.mode == mode
    assert np.array_equal(np.asarray(decoded), by_pillow(SOUND[kind], factor))


@pytest.mark.parametrize(
    "content",
    [
        saved(PHOTO.convert("CMYK"), "JPEG"),
        ARITHMETIC,
        SOUND["4:2:0"][:-2],
        SOUND["4:2:0"][:-2000] + b"\xff\xd9",
        SOUND["restarts"].replace(b"\xff\xd0", b"\xff\xd5", 1),
        SOUND["4:2:0"][:20] + b"abc" + SOUND["4:2:0"][20:],
    ],
    ids=["CMYK", "arithmetic coding", "no end", "pixels missing", "wrong restart", "bytes between segments"],
)
def test_other_files_are_left_to_pillow(content):
    assert jpeg.decode_jpeg(content, *opened(content), 1) is None


def test_other_sides_than_pillow_read_are_left_to_it_before_pixels_are_allocated():
    """Pillow believes the last frame before the scan, libjpeg-turbo the first."""
    content = SOUND["4:2:0"]
    at = content.index(b"\xff\xc0")
    huge = content[: at + 5] + struct.pack(">HH", 65_000, 65_000) + content[at + 9 :]
    assert jpeg.decode_jpeg(huge, "RGB", PHOTO.size, 1) is None
    assert jpeg.decode_jpeg(SOUND["1 × 1"], "RGB", PHOTO.size, 1) is None


def test_an_image_of_many_pixels_is_left_to_pillow_which_needs_less_memory(monkeypatch):
    monkeypatch.setattr(jpeg, "_MAX_PIXELS", PHOTO.width * PHOTO.height - 1)
    assert jpeg.decode_jpeg(SOUND["4:2:0"], "RGB", PHOTO.size, 1) is None
    assert jpeg.decode_jpeg(SOUND["4:2:0"], "RGB", PHOTO.size, 2) is not None


@pytest.mark.parametrize("side", [*range(1, 20), 31, 63, 64])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_of_a_few_pixels_the_scale_is_pillows_or_the_file_is(side, factor):
    if side < factor:
        pytest.skip("no draft")
    content = saved(PHOTO.resize((side, side + 5)), "JPEG")
    decoded = jpeg.decode_jpeg(content, "RGB", (side, side + 5), factor)
    assert decoded is None or np.array_equal(np.asarray(decoded), by_pillow(content, factor))
    assert (decoded is None) == (side < 8 * factor)


@given(st.tuples(st.integers(1, 3000), st.integers(1, 3000)), st.integers(1, 1000))
def test_sides_are_those_of_pillows_draft(size, least):
    image = drafted(size)
    image.draft(None, (least, least))
    assert jpeg.drafted_size(size, jpeg.draft_factor(size, least)) == image.size


def drafted(size):
    """Open a JPEG whose header alone is of that size."""
    content = SOUND["grey"]
    at = content.index(b"\xff\xc0")
    return Image.open(io.BytesIO(content[: at + 5] + struct.pack(">HH", size[1], size[0]) + content[at + 9 :]))


def shown(path, content, least):
    """Return what a model gets from a file, and its size; in words why, if there is nothing."""
    path.write_bytes(content)
    try:
        decoded = decoder.decode(path, draft_side=least)
    except UndecodableError as error:
        return error.reason, error.detail
    original = () if decoded.box is None else (decoded.size, decoded.box)
    return decoded.size, decoded.box, decoded.image.tobytes(), CLIP(decoded.image, *original).tobytes()


@pytest.mark.parametrize("first", range(0, FILES, AT_ONCE))
def test_odd_files_give_the_same_pixels_or_reasons_as_without_simplejpeg(tmp_path, monkeypatch, first):
    seeds = range(first, first + AT_ONCE)
    files = {seed: odd_jpeg(seed) for seed in seeds}
    found = [shown(tmp_path / "image", files[seed].content, LEAST[seed % len(LEAST)]) for seed in seeds]
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    for seed, with_it in zip(seeds, found, strict=True):
        least = LEAST[seed % len(LEAST)]
        assert shown(tmp_path / "image", files[seed].content, least) == with_it, (seed, least, files[seed].kind)
    assert sum(len(one) == 4 for one in found) > AT_ONCE / 2
