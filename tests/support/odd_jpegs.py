"""JPEGs of every kind that catalogs hold, sound and damaged, made by a seed."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import simplejpeg
from PIL import Image, ImageCms, ImageFile

if TYPE_CHECKING:
    from collections.abc import Callable

SIDES = (1, 2, 7, 8, 9, 15, 16, 17, 33, 97, 200, 257, 399, 400, 672, 801)
_SUBSAMPLINGS = ("444", "422", "420", "440", "411", "Gray")
_FACTORS = (0x11, 0x12, 0x21, 0x22, 0x41, 0x14, 0x31, 0x13, 0x42)  # sampling of a component, as a frame states it
_SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_SWAPPED = _SRGB.replace(b"rXYZ", b"tmp0", 1).replace(b"bXYZ", b"rXYZ", 1).replace(b"tmp0", b"bXYZ", 1)
_PROFILES = (_SRGB, _SWAPPED.replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be")), b"broken")
_ADOBE = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0"  # and the byte that names the transform


class OddJpeg(NamedTuple):
    """A file, and in words how it was made."""

    content: bytes
    kind: str


def odd_jpeg(seed: int) -> OddJpeg:
    """Return the file of that number."""
    random = np.random.default_rng(seed)
    content, kind = _encode(random)
    if random.random() < 0.55:
        return OddJpeg(content, kind)
    change = _CHANGES[random.integers(len(_CHANGES))]
    return OddJpeg(change(content, random), f"{kind}, {change.__name__.strip('_').replace('_', ' ')}")


def _encode(random: np.random.Generator) -> tuple[bytes, str]:
    width, height = (int(side) for side in random.choice(SIDES, 2))
    if random.random() < 0.5:
        width = int(random.integers(1, 700))
        height = int(random.integers(width // 2 + 1, 2 * width + 2))
    image = _photo(random, width, height)
    quality = int(random.choice((1, 30, 75, 90, 100)))
    if random.random() < 0.3:
        subsampling = str(random.choice(_SUBSAMPLINGS))
        colourspace = "GRAY" if subsampling == "Gray" else "RGB"
        pixels = np.asarray(image)[:, :, : 1 if colourspace == "GRAY" else 3]
        content = simplejpeg.encode_jpeg(np.ascontiguousarray(pixels), quality, colourspace, subsampling)
        return content, f"{width} x {height} {subsampling}"
    mode = str(random.choice(("RGB", "RGB", "RGB", "L", "CMYK")))
    options: dict[str, object] = {"quality": quality, "progressive": bool(random.random() < 0.4)}
    options["optimize"] = bool(random.random() < 0.3)
    options["icc_profile"] = _PROFILES[random.integers(len(_PROFILES))] if random.random() < 0.4 else b""
    if random.random() < 0.4:
        options["exif"] = Image.Exif()
        options["exif"][0x0112] = int(random.integers(0, 10))  # type: ignore[index]
    if random.random() < 0.3:
        options["restart_marker_blocks"] = int(random.integers(1, 20))
    if mode == "RGB":
        options |= {"subsampling": int(random.integers(3))} if random.random() < 0.8 else {"keep_rgb": True}
    stream = io.BytesIO()
    room, ImageFile.MAXBLOCK = ImageFile.MAXBLOCK, 2**24  # Pillow's buffer is too small for odd options
    try:
        image.convert(mode).save(stream, "MPO" if mode == "RGB" and random.random() < 0.05 else "JPEG", **options)
    finally:
        ImageFile.MAXBLOCK = room
    return stream.getvalue(), f"{width} x {height} {mode} {options}"


def _photo(random: np.random.Generator, width: int, height: int) -> Image.Image:
    """Return soft colours, often under noise."""
    blocks = random.integers(0, 256, (*random.integers(2, 12, 2), 3), np.uint8)
    soft = np.asarray(Image.fromarray(blocks).resize((width, height)), np.int16)
    noise = random.integers(-30, 30, soft.shape, np.int16) * int(random.random() < 0.6)
    return Image.fromarray((soft + noise).clip(0, 255).astype(np.uint8))


def _more_behind_its_end(content: bytes, random: np.random.Generator) -> bytes:
    return content + random.bytes(int(random.integers(1, 9000)))


def _without_end(content: bytes, _: np.random.Generator) -> bytes:
    return content[:-2]


def _cut_off(content: bytes, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(2, len(content)))]


def _cut_off_with_an_end(content: bytes, random: np.random.Generator) -> bytes:
    return content[: int(random.integers(2, len(content)))] + b"\xff\xd9"


def _broken_data(content: bytes, random: np.random.Generator) -> bytes:
    return _overwritten(content, random, _scan(content), len(content))


def _broken_header(content: bytes, random: np.random.Generator) -> bytes:
    return _overwritten(content, random, 2, _scan(content) + 14)


def _bytes_before_the_scan(content: bytes, random: np.random.Generator) -> bytes:
    at = _scan(content)
    return content[:at] + bytes(random.choice((b"\xff\xff\xff", b"abc"))) + content[at:]


def _other_sampling(content: bytes, random: np.random.Generator) -> bytes:
    at = _frame(content)
    component = at + 11 + 3 * int(random.integers(content[at + 9]))
    return content[:component] + bytes([random.choice(_FACTORS)]) + content[component + 1 :]


def _other_sides(content: bytes, random: np.random.Generator) -> bytes:
    at = _frame(content) + 5 + int(random.integers(4))
    return content[:at] + random.bytes(1) + content[at + 1 :]


def _two_frames(content: bytes, random: np.random.Generator) -> bytes:
    """Pillow takes the sides of the last, libjpeg-turbo refuses it."""
    at, scan = _frame(content), _scan(content)
    frame = bytearray(content[at : at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")])
    frame[6:9:2] = random.bytes(2)
    return content[:scan] + frame + content[scan:]


def _another_frame(content: bytes, random: np.random.Generator) -> bytes:
    """Call it arithmetic, lossless or hierarchical."""
    at = _frame(content) + 1
    return content[:at] + bytes([random.choice((0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA))]) + content[at + 1 :]


def _an_adobe_marker(content: bytes, random: np.random.Generator) -> bytes:
    """Colours as its transform says: none, YCbCr, YCCK, or none that is known."""
    return content[:2] + _ADOBE + bytes([random.integers(4)]) + content[2:]


def _no_application_segments(content: bytes, _: np.random.Generator) -> bytes:
    """Without JFIF the numbers of the components tell the colours."""
    kept = [content[:2]]
    for marker, start, end in _segments(content):
        if not 0xE0 <= marker < 0xF0:
            kept.append(content[start:end])
    return b"".join(kept) + content[_scan(content) :]


def _components_called_rgb(content: bytes, random: np.random.Generator) -> bytes:
    content = _no_application_segments(content, random)
    changed, frame, scan = bytearray(content), _frame(content), _scan(content)
    for number, name in enumerate(b"RGB"[: content[frame + 9]]):
        changed[frame + 10 + 3 * number] = name
        changed[scan + 5 + 2 * number] = name
    return bytes(changed)


_CHANGES: tuple[Callable[[bytes, np.random.Generator], bytes], ...] = (
    _more_behind_its_end, _without_end, _cut_off, _cut_off_with_an_end, _broken_data, _broken_header,
    _bytes_before_the_scan, _other_sampling, _other_sides, _two_frames, _another_frame, _an_adobe_marker,
    _no_application_segments, _components_called_rgb,
)  # fmt: skip


def _overwritten(content: bytes, random: np.random.Generator, start: int, end: int) -> bytes:
    changed = bytearray(content)
    for at in random.integers(start, end, int(random.integers(1, 5))):
        changed[at] = random.integers(256)
    return bytes(changed)


def _segments(content: bytes) -> list[tuple[int, int, int]]:
    """Return the marker, start and end of the segments before the first scan, and of that scan's header."""
    found = []
    at = 2
    while True:
        end = at + 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if content[at + 1] == 0xDA:
            return found
        found.append((content[at + 1], at, end))
        at = end


def _frame(content: bytes) -> int:
    return next(start for marker, start, _ in _segments(content) if marker in (0xC0, 0xC1, 0xC2))


def _scan(content: bytes) -> int:
    return _segments(content)[-1][2]
