"""Files decoded to RGB as a viewer shows them, and files that cannot be decoded."""

from __future__ import annotations

import struct
import subprocess
import sys
import zlib
from contextlib import suppress

import numpy as np
import pytest
from PIL import Image, ImageCms, features
from support.image_files import saved

from ingest.core.records import Reason
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError

LOSSLESS = [
    ("PNG", {}),
    ("WEBP", {"lossless": True}),
    ("BMP", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
]


@pytest.fixture
def shown(tmp_path):
    """Decode bytes, as (h, w, 3) uint8."""

    def decode(content):
        (tmp_path / "image").write_bytes(content)
        image = open_rgb(tmp_path / "image")
        assert image.mode == "RGB"
        return np.asarray(image)

    return decode


def refused(shown, content):
    with pytest.raises(UndecodableError) as caught:
        shown(content)
    assert caught.value.detail.isprintable()
    return caught.value.reason


@pytest.mark.parametrize(("kind", "options"), LOSSLESS)
def test_lossless_formats_are_exact(shown, photo, kind, options):
    assert np.array_equal(shown(saved(photo, kind, **options)), np.asarray(photo))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "MPO"] + ["AVIF"] * bool(features.check("avif")))
def test_lossy_formats_are_close(shown, photo, kind):
    difference = shown(saved(photo, kind)).astype(int) - np.asarray(photo)
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_turned_upright(shown, photo, kind, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    upright = np.asarray(photo)
    # What the sensor saw: for each value of the tag (EXIF 2.3, 4.6.4 A), the upright image turned back.
    lies = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    options = {"lossless": True} if kind == "WEBP" else {}
    content = saved(Image.fromarray(np.ascontiguousarray(lies)), kind, exif=exif, **options)
    assert np.array_equal(shown(content), upright)


def test_a_jpeg_is_turned_too(shown, photo):
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = photo.transpose(Image.Transpose.ROTATE_90)
    difference = shown(saved(lying, "JPEG", exif=exif)).astype(int) - np.asarray(photo)
    assert np.abs(difference).mean() < 12


@pytest.mark.parametrize("exif", [b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0garbage", b"Exif\0\0"])
def test_broken_exif_is_ignored(shown, photo, exif):
    assert shown(saved(photo, "JPEG", exif=exif)).shape == (64, 96, 3)


def over_white(colour, alpha):
    return [round((c * alpha + 255 * (255 - alpha)) / 255) for c in colour]


@pytest.mark.parametrize("alpha", [0, 128, 255])
def test_transparency_lies_on_white(shown, alpha):
    rgba = Image.new("RGBA", (4, 4), (200, 30, 60, alpha))
    la = Image.new("LA", (4, 4), (90, alpha))
    for kind in ("PNG", "TIFF"):
        assert shown(saved(rgba, kind))[0, 0].tolist() == pytest.approx(over_white((200, 30, 60), alpha), abs=1)
        assert shown(saved(la, kind))[0, 0].tolist() == pytest.approx(over_white((90, 90, 90), alpha), abs=1)
    assert shown(saved(rgba, "WEBP", lossless=True))[0, 0].tolist() == pytest.approx(
        over_white((200, 30, 60), alpha), abs=1
    )


def test_a_palette_with_alpha_bytes_lies_on_white(shown):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 30, 60])
    image.putpixel((1, 0), 1)
    pixels = shown(saved(image, "PNG", transparency=bytes([0, 128])))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[0, 1].tolist() == pytest.approx(over_white((200, 30, 60), 128), abs=1)
    assert shown(saved(image, "GIF", transparency=0))[0].tolist() == [[255, 255, 255], [200, 30, 60]]


@pytest.mark.parametrize(("mode", "colour", "key"), [("L", 77, 77), ("RGB", (1, 2, 3), (1, 2, 3)), ("1", 0, 0)])
def test_a_pngs_transparent_colour_is_white(shown, mode, colour, key):
    image = Image.new(mode, (2, 2), colour)
    image.putpixel((1, 1), 255 if mode != "RGB" else (9, 9, 9))
    pixels = shown(saved(image, "PNG", transparency=key))
    assert pixels[0, 0].tolist() == [255, 255, 255]
    assert pixels[1, 1].tolist() == ([9, 9, 9] if mode == "RGB" else [255, 255, 255])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_greys_of_sixteen_bits_are_scaled_not_clipped(shown, kind):
    grey = np.array([[0, 257, 32_896, 65_535]], np.uint16)
    assert shown(saved(Image.fromarray(grey), kind))[0, :, 0].tolist() == [0, 1, 128, 255]


def test_big_endian_greys_are_scaled_too(shown):
    image = Image.frombytes("I;16B", (2, 1), b"\x80\x80\xff\xff")
    assert shown(saved(image, "TIFF"))[0, :, 0].tolist() == [128, 255]


def test_a_transparent_value_of_sixteen_bits_is_white(shown):
    content = png(2, 1, struct.pack(">BHH", 0, 1000, 257), depth=16, extra=chunk(b"tRNS", struct.pack(">H", 1000)))
    assert shown(content)[0, :, 0].tolist() == [255, 1]


@pytest.mark.parametrize(
    ("values", "greys"),
    [
        ([0, 0.5, 1], [0, 128, 255]),
        ([0, 100, 255], [0, 100, 255]),
        ([-1, 0, 1], [0, 128, 255]),
        ([np.nan] * 3, [0] * 3),
    ],
)
def test_floats_are_scaled_by_their_range(shown, values, greys):
    image = Image.fromarray(np.array([values], np.float32))
    assert shown(saved(image, "TIFF"))[0, :, 0].tolist() == greys


def test_integers_of_thirty_two_bits_are_scaled(shown):
    for values, greys in ([[0, 65_535], [0, 255]], [[-5, 2**31 - 1], [0, 255]], [[7, 7], [0, 0]]):
        image = Image.fromarray(np.array([values], np.int32))
        assert shown(saved(image, "TIFF"))[0, :, 0].tolist() == greys


def test_one_bit_is_black_and_white(shown):
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert shown(saved(image, "PNG"))[0].tolist() == [[0] * 3, [255] * 3]


def test_cmyk_becomes_the_colours_it_prints(shown):
    for kind in ("JPEG", "TIFF"):
        pixels = shown(saved(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), kind))
        assert pixels[8, 8].tolist() == pytest.approx([255, 0, 0], abs=3)


def test_a_profile_is_applied_and_a_broken_one_ignored(shown, photo):
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    plain = np.asarray(photo)
    for harmless in (b"broken", lab, srgb):
        assert np.array_equal(shown(saved(photo, "PNG", icc_profile=harmless)), plain)
    # sRGB's own red and blue primaries, swapped and under another name: a red file shows blue.
    tags = srgb.replace(b"rXYZ", b"tmp0", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp0", b"bXYZ", 1)
    swapped = tags.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    red = shown(saved(Image.new("RGB", (4, 4), (255, 0, 0)), "PNG", icc_profile=swapped))[0, 0]
    assert red.tolist() == pytest.approx([0, 0, 255], abs=3)
    half = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    assert shown(saved(half, "PNG", icc_profile=swapped))[0, 0].tolist() == pytest.approx([127, 127, 255], abs=3)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF", "MPO"])
def test_only_the_first_image_of_many_is_shown(shown, kind):
    first, second = Image.new("RGB", (16, 16), (255, 0, 0)), Image.new("RGB", (16, 16), (0, 0, 255))
    content = saved(first, kind, save_all=True, append_images=[second])
    assert shown(content)[8, 8].tolist() == pytest.approx([255, 0, 0], abs=6)


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def png(width, height, raw, depth=8, extra=b""):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [8_001, 9_999, 50_000])
def test_an_image_of_too_many_pixels_is_refused_before_they_are_made(shown, side):
    assert refused(shown, png(side, side, b"")) == Reason.TOO_LARGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("part", [0.2, 0.6, 0.95])
def test_a_file_that_ends_early_is_truncated(shown, photo, kind, part):
    content = saved(photo, kind)
    assert refused(shown, content[: int(len(content) * part)]) == Reason.TRUNCATED


def test_what_is_not_an_image_is_refused(shown, photo):
    for content in (
        b"<html>",
        b"%!PS-Adobe-3.0 EPSF-3.0",
        b"P6 1 1 255 abc",
        saved(photo, "ICO"),
        b"\xff\xd8\xff\xe0",
    ):
        assert refused(shown, content) in (Reason.NOT_AN_IMAGE, Reason.TRUNCATED)
    assert refused(shown, b"") == Reason.TRUNCATED
    assert refused(shown, b"II*\0" + b"\x08\0\0\0" + bytes(90)) == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_damage_ends_in_pixels_or_in_one_kind_of_error(shown, photo, kind):
    content = saved(photo, kind)
    random = np.random.default_rng(5)
    for _ in range(40):
        broken = bytearray(content)
        for at in random.integers(2, min(len(content), 600), 6):
            broken[at] = random.integers(256)
        with suppress(UndecodableError):
            shown(bytes(broken))


def test_a_missing_file_is_not_found(tmp_path):
    with pytest.raises(UndecodableError) as caught:
        open_rgb(tmp_path / "gone.jpg")
    assert caught.value.reason == Reason.NOT_FOUND


def test_nothing_is_printed_about_odd_files(tmp_path, photo):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x05\0"
    lzw = bytearray(saved(photo, "TIFF", compression="tiff_lzw"))
    lzw[20:400] = bytes(range(190)) * 2
    odd = [saved(photo, "JPEG", exif=exif), png(9_999, 9_999, b""), bytes(lzw)]
    for number, content in enumerate(odd):
        (tmp_path / str(number)).write_bytes(content)
    program = (
        "import sys; from pathlib import Path; from ingest.images.decode.decoder import *\n"
        "for path in sys.argv[1:]:\n"
        "    try: open_rgb(Path(path))\n"
        "    except UndecodableError as error: pass\n"
    )
    paths = [str(tmp_path / str(number)) for number in range(len(odd))]
    done = subprocess.run([sys.executable, "-c", program, *paths], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
