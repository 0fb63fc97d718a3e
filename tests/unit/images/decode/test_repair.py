"""Broken files that browsers show in full, and files that lack pixels."""

from __future__ import annotations

import re
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms
from skimage import data
from support.image_files import saved

from ingest.core.records import Reason
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.repair import MAX_COPY, repair

PHOTO = Image.fromarray(data.astronaut()).resize((96, 64))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """Decode bytes, as (h, w, 3) uint8; a reason if they are no image."""
    path = tmp_path_factory.mktemp("shown") / "image"

    def decode(content):
        path.write_bytes(content)
        try:
            return np.asarray(open_rgb(path))
        except UndecodableError as error:
            return error.reason

    return decode


def same(first, second):
    assert not isinstance(first, Reason), first
    return np.array_equal(first, second)


def chunk(name, body=b"", *, wrong=False):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body) ^ wrong)


def with_chunks(content, *added, before):
    """Return a PNG with chunks added before the first of that name."""
    at = content.index(before) - 4
    return content[:at] + b"".join(added) + content[at:]


PNG = saved(PHOTO, "PNG")
PALETTE = saved(PHOTO.quantize(32), "PNG")
ANCILLARY = [
    b"tEXt", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"pHYs", b"tIME", b"bKGD", b"sBIT",
    b"hIST", b"sPLT", b"cICP", b"acTL", b"fcTL", b"fdAT", b"abCd",
]  # fmt: skip
SPACES = zlib.compress(b" " * (2 << 20))
HARMLESS = {
    "long zTXt": chunk(b"zTXt", b"Raw profile type 8bim\0\0" + SPACES),
    "long iTXt": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + SPACES),
    "much tEXt": chunk(b"tEXt", b"Comment\0" + b" " * (1 << 20)) * 65,
    "text bomb": chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(10**8))),
    "long iCCP": chunk(b"iCCP", b"sRGB\0\0" + zlib.compress(SRGB + bytes(2 << 20))),
    "iCCP too long": chunk(b"iCCP", b"a\0\0" + zlib.compress(b"\0\x30" + bytes(3 << 20))),
    "iCCP of another compression": chunk(b"iCCP", b"sRGB\0\1" + zlib.compress(SRGB)),
    "iCCP without a name": chunk(b"iCCP", b"sRGB"),
    "animation out of order": chunk(b"fcTL", bytes(26)) * 2,
}


@pytest.mark.parametrize("before", [b"IDAT", b"IEND"])
@pytest.mark.parametrize("name", HARMLESS)
def test_a_png_is_shown_whatever_its_ancillary_chunks_hold(shown, name, before):
    assert same(shown(with_chunks(PNG, HARMLESS[name], before=before)), PHOTO)


@pytest.mark.parametrize("name", ANCILLARY)
def test_a_broken_ancillary_chunk_is_ignored(shown, name):
    plain = shown(PALETTE)
    for broken in (
        chunk(name, b"Comment\0text", wrong=True), chunk(name), chunk(name, b"a"), chunk(name) * 2,
        chunk(name, bytes(3), wrong=True) + chunk(b"tEXt", b"\xff"),
    ):  # fmt: skip
        for before in (b"IDAT", b"IEND"):
            assert same(shown(with_chunks(PNG, broken, before=before)), PHOTO)
            if name != b"tRNS":  # a byte is the alpha of the first colour
                assert same(shown(with_chunks(PALETTE, broken, before=before)), plain)
    assert same(shown(PNG[:-12] + chunk(name, bytes(99))[:50]), PHOTO)


@given(st.lists(st.tuples(st.sampled_from(ANCILLARY), st.binary(max_size=40), st.booleans()), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_no_mixture_with_a_broken_chunk_hides_the_pixels_of_a_png(shown, mixture):
    changing = (b"tRNS", b"eXIf", b"iCCP")
    added = [chunk(name, body, wrong=wrong or name in changing) for name, body, wrong in mixture]
    assert same(shown(with_chunks(PNG, *added, before=b"IDAT")), PHOTO)
    added = [chunk(name, body, wrong=wrong) for name, body, wrong in mixture if name not in changing]
    assert same(shown(with_chunks(PNG, *added, before=b"IEND")), PHOTO)


BROKEN = chunk(b"tEXt", b"Comment\0text", wrong=True)


def test_what_changes_pixels_is_kept_beside_what_is_broken(shown):
    exif = Image.Exif()
    exif[0x0112] = 6
    swapped = SRGB.replace(b"rXYZ", b"tmp0", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp0", b"bXYZ", 1)
    swapped = swapped.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))
    for image, options in (
        (PHOTO, {"exif": exif}),
        (PHOTO, {"icc_profile": swapped}),
        (PHOTO.quantize(16), {"transparency": bytes(range(0, 256, 16))}),
        (PHOTO.convert("L"), {"transparency": 77}),
        (PHOTO, {"transparency": (1, 2, 3)}),
    ):
        content = saved(image, "PNG", **options)
        assert same(shown(with_chunks(content, BROKEN, before=b"IDAT")), shown(content))
    padded = chunk(b"iCCP", b"a\0\0" + zlib.compress(swapped + bytes(2 << 20)))
    assert same(shown(with_chunks(PNG, padded, before=b"IDAT")), shown(saved(PHOTO, "PNG", icc_profile=swapped)))


def test_transparency_that_does_not_fit_is_ignored(shown):
    for content, body in (
        (PALETTE, bytes(33)),
        (PALETTE, bytes(300)),
        (PNG, bytes(5)),
        (saved(PHOTO.convert("L"), "PNG"), b""),
    ):
        assert same(shown(with_chunks(content, chunk(b"tRNS", body), BROKEN, before=b"IDAT")), shown(content))


def test_an_animation_with_a_broken_part_is_its_first_image(shown):
    content = saved(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(90)])
    at = content.index(b"fcTL") + 4
    assert same(shown(content[:at] + b"\xff" + content[at + 1 :]), PHOTO)


@pytest.mark.parametrize("name", [b"IHDR", b"PLTE"])
def test_a_broken_critical_chunk_is_not_guessed(shown, name):
    at = PALETTE.index(name) + 4
    for content in (PALETTE, with_chunks(PALETTE, BROKEN, before=b"IDAT")):
        assert shown(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :]) == Reason.NOT_AN_IMAGE


@pytest.mark.parametrize("part", [0.3, 0.6, 0.95])
def test_a_png_that_lacks_pixels_is_truncated_whatever_else_is_broken(shown, part):
    content = with_chunks(PNG, BROKEN, before=b"IDAT")
    assert shown(content[: int(len(content) * part)]) == Reason.TRUNCATED


def test_a_larger_copy_than_allowed_is_not_made(tmp_path):
    path = tmp_path / "image"
    for kind, content in (
        ("png", with_chunks(PNG, chunk(b"IDAT"), BROKEN, before=b"IDAT")),
        ("jpg", JPEGS["plain"][:-2]),
    ):
        path.write_bytes(content)
        with path.open("r+b") as file:
            assert repair(file, kind) is not None
            file.truncate(MAX_COPY + 1)
            if kind == "png":
                at = content.index(b"IDAT") - 4
                file.seek(at)
                file.write(struct.pack(">I", MAX_COPY))
            assert repair(file, kind) is None


@pytest.mark.parametrize("kind", ["png", "jpg", "webp"])
def test_a_small_file_takes_little_memory_whatever_it_says_of_its_length(tmp_path, kind):
    path = tmp_path / "image"
    path.write_bytes({
        "png": PNG[:33] + BROKEN + struct.pack(">I", MAX_COPY - 10_000) + b"IDAT" + bytes(99),
        "jpg": JPEGS["plain"][:-99],
        "webp": WEBP[:4] + struct.pack("<I", MAX_COPY) + WEBP[8:-20],
    }[kind])  # fmt: skip
    tracemalloc.start()
    with path.open("rb") as file:
        repair(file, kind)
    assert tracemalloc.get_traced_memory()[1] < 3 * 10**6
    tracemalloc.stop()


JPEGS = {
    "plain": saved(PHOTO, "JPEG"),
    "best": saved(PHOTO, "JPEG", quality=100, subsampling=0),
    "optimised": saved(PHOTO, "JPEG", optimize=True, quality=30),
    "progressive": saved(PHOTO, "JPEG", progressive=True),
    "restarts": saved(PHOTO, "JPEG", restart_marker_blocks=3),
    "restarts in rows": saved(PHOTO, "JPEG", restart_marker_rows=1),
    "progressive restarts": saved(PHOTO, "JPEG", progressive=True, restart_marker_rows=1),
    "grey": saved(PHOTO.convert("L"), "JPEG"),
    "CMYK": saved(PHOTO.convert("CMYK"), "JPEG"),
    "white": saved(Image.new("RGB", (96, 64), "white"), "JPEG"),
    "middle grey": saved(Image.new("RGB", (96, 64), (128, 128, 128)), "JPEG", progressive=True),
    "odd size": saved(PHOTO.resize((17, 9)), "JPEG"),
    "thumbnail in EXIF": saved(PHOTO, "JPEG", exif=b"Exif\0\0" + saved(PHOTO.resize((16, 16)), "JPEG")),
    "MPO": saved(PHOTO, "MPO", save_all=True, append_images=[PHOTO.rotate(90)]),
}


@pytest.mark.parametrize("name", JPEGS)
@pytest.mark.parametrize("end", [b"", b"\xff", b"\xff\xff\xff", b"\0", bytes(3), b"\xff\0\0"])
def test_a_jpeg_that_lacks_only_its_end_is_shown(shown, name, end):
    content = JPEGS[name]
    assert same(shown(content[: end_of(content)] + end), shown(content))


def end_of(content):
    """Return where the first image of a JPEG has its EOI."""
    return content.index(b"\xff\xd9\xff\xd8") if b"MPF\0" in content else len(content) - 2


@given(st.sampled_from(sorted(JPEGS)), st.integers(1, 2**20), st.sampled_from([b"", b"\xff"]))
@settings(max_examples=250, deadline=None)
def test_a_jpeg_that_ends_early_is_truncated_or_lacks_no_pixel(shown, name, missing, end):
    content = JPEGS[name]
    whole = end_of(content)
    first = content.index(b"\xff\xdb", 2)
    got = shown(content[: whole - missing % (whole - first)] + end)
    assert got in (Reason.TRUNCATED, Reason.NOT_AN_IMAGE) if isinstance(got, Reason) else same(got, shown(content))


@pytest.mark.parametrize("name", ["progressive", "progressive restarts", "middle grey"])
def test_a_progressive_jpeg_without_its_last_scans_is_truncated(shown, name):
    content = JPEGS[name]
    later = [found.start() for found in re.finditer(rb"\xff\xda", content)][1:]
    assert later
    for at in later:
        tables = content.rfind(b"\xff\xc4", 0, at)  # those of this scan stand before it
        assert shown(content[:tables]) == Reason.TRUNCATED
        assert shown(content[:at]) == Reason.TRUNCATED


@pytest.mark.parametrize("name", ["restarts", "restarts in rows", "progressive restarts"])
def test_a_jpeg_that_ends_at_a_restart_is_truncated(shown, name):
    content = JPEGS[name]
    ends = [at for at in range(content.index(b"\xff\xda"), len(content) - 1) if content[at] == 0xFF]
    ends = [at for at in ends if 0xD0 <= content[at + 1] <= 0xD7]
    assert ends
    for at in ends:
        assert shown(content[:at]) is Reason.TRUNCATED
        assert shown(content[: at + 2]) is Reason.TRUNCATED


@pytest.mark.parametrize(
    "body", [b"JFIF\0", b"JFIF\0\1", b"ICC_PROFILE\0", b"ICC_PROFILE\0\1", b"Adobe", b"Photoshop 3.0\x008BIM\x03\xed\0"]
)
@pytest.mark.parametrize("end", [b"", b"\xff\xd9"])
def test_a_broken_application_segment_of_a_jpeg_is_ignored(shown, body, end):
    content = JPEGS["plain"]
    marker = {b"J": 0xE0, b"I": 0xE2, b"A": 0xEE, b"P": 0xED}[body[:1]]
    segment = bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body
    assert same(shown(content[:2] + segment + content[2:-2] + end), shown(content))


WEBP = saved(PHOTO, "WEBP", lossless=True, exact=True, xmp=b"<x/>" * 50)


def test_a_webp_that_ends_in_its_metadata_is_shown(shown):
    for content in (WEBP[:-20], WEBP[: WEBP.rindex(b"XMP ")], WEBP[: WEBP.rindex(b"XMP ") + 6]):
        assert same(shown(content), PHOTO)
    assert same(shown(WEBP[:4] + struct.pack("<I", len(WEBP) + 500) + WEBP[8:]), PHOTO)


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_a_webp_that_lacks_pixels_is_truncated(shown, part):
    assert shown(WEBP[: int(WEBP.rindex(b"XMP ") * part)]) == Reason.TRUNCATED


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF"])
def test_what_follows_an_image_is_ignored(shown, kind):
    content = saved(PHOTO, kind)
    assert same(shown(content + b"\0junk" * 500), shown(content))


def test_a_gif_without_its_trailer_and_a_bmp_with_a_wrong_size_are_shown(shown):
    gif, bmp = saved(PHOTO, "GIF"), saved(PHOTO, "BMP")
    assert same(shown(gif[:-1]), shown(gif))
    for size in (0, 99, 10**9):
        assert same(shown(bmp[:2] + struct.pack("<I", size) + bmp[6:]), PHOTO)
