"""A file's bytes → upright RGB pixels, by Pillow and, for most JPEGs, simplejpeg."""

from __future__ import annotations

import errno
import hashlib
import io
import logging
import os
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PIL import ExifTags, Image

from ingest.core.file_type import HEAD, extension, is_cut_off
from ingest.core.records import Reason
from ingest.images.decode import errors
from ingest.images.decode.colour import to_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.decode.integrity import is_sound
from ingest.images.decode.jpeg import decode_jpeg, draft_factor
from ingest.images.decode.libtiff import silence
from ingest.images.decode.repair import repair

if TYPE_CHECKING:
    from io import BufferedReader
    from pathlib import Path
    from typing import BinaryIO

MAX_PIXELS = 64_000_000
"""Default limit: 192 MB as RGB. The largest cameras make 50 megapixels, product images have about one."""

# No other format is opened: Pillow reads many more, some by running another program.
_FORMATS = {
    "jpg": ("JPEG",),  # MPO too: Pillow has no other way to open it
    "png": ("PNG",),
    "webp": ("WEBP",),
    "gif": ("GIF",),
    "bmp": ("BMP",),
    "tiff": ("TIFF",),
    "avif": ("AVIF",),
}
_JPEGS = frozenset({"JPEG", "MPO"})  # as Pillow names what it has opened as a JPEG
_PILLOW = re.compile(r"PIL\.")
# By EXIF orientation (EXIF 2.3, 4.6.4 A).
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SWAPS_SIDES = frozenset(_TO_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
_MIRRORS_X = frozenset(_TO_UPRIGHT[orientation] for orientation in (2, 3, 6, 7))
_MIRRORS_Y = frozenset(_TO_UPRIGHT[orientation] for orientation in (3, 4, 7, 8))
# Longer strips are decoded in full: preprocessing takes their middle, which must not move.
_MAX_DRAFT_RATIO = 8
MAX_IN_MEMORY = 64_000_000
"""Bytes; larger JPEGs are read by Pillow, piece by piece."""


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """An image as a viewer shows it, perhaps decoded smaller than it is.

    `size` is the original width and height. `box` is the part of a smaller `image` that the original covers (left, top,
    right, bottom), because its last row or column may be a fraction of a pixel; None if the image is decoded in full.
    """

    image: Image.Image
    size: tuple[int, int]
    box: tuple[float, float, float, float] | None = None


class DecodeSandbox(Protocol):
    """Decodes images that might crash their decoder."""

    def open_rgb(self, path: Path, max_pixels: int) -> Image.Image:
        """Return the file's first image, of at most `max_pixels`; raises UndecodableError."""


def open_rgb(path: Path, sandbox: DecodeSandbox | None = None, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Return the file's first image as a viewer shows it: mode RGB, sRGB, upright, on white.

    Reads JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF of at most `max_pixels`. Files that are not sound are decoded in the
    sandbox, if there is one. Raises UndecodableError for anything else, and if the file cannot be read. Prints no
    warnings.
    """
    return decode(path, sandbox, max_pixels).image


def upright_rgb(image: Image.Image) -> Image.Image:
    """Return an image that Pillow has opened or made as `open_rgb` returns a file's; raises UndecodableError."""
    _silence_pillow()
    try:
        image.load()
        turn = _transpose(image)
        found = to_rgb(image)
    except MemoryError as error:
        raise UndecodableError(Reason.TOO_LARGE, "not enough memory for its pixels; make it smaller") from error
    except Exception as error:  # broken bytes make Pillow raise nearly every exception that Python has
        raise errors.damage_of(error) from error
    return found if turn is None else found.transpose(turn)


def decode(
    path: Path,
    sandbox: DecodeSandbox | None = None,
    max_pixels: int = MAX_PIXELS,
    *,
    draft_side: int = 0,
    sha256: bytes | None = None,
    content: bytes | None = None,
) -> DecodedFile:
    """Decode as `open_rgb` does.

    With a `draft_side`, a JPEG may be decoded smaller, its shorter side at least that long. With a `sha256`, the file
    must have that digest: vectors are kept by it for good, so no other content may get under it. `content` are the
    bytes of a JPEG with that digest, as `read_file` returns them; the file is not read again then.
    """
    _silence_pillow()
    try:
        if content is not None:
            return _decode_file(io.BytesIO(content), path, sandbox, draft_side, max_pixels)
        with path.open("rb") as opened:
            file = _in_memory(opened) or opened
            if sha256 is not None:
                _check_digest(file, sha256)
            return _decode_file(file, path, sandbox, draft_side, max_pixels)
    except UndecodableError:
        raise
    except MemoryError as error:
        raise UndecodableError(Reason.TOO_LARGE, "not enough memory for its pixels; make it smaller") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL, errno.EOVERFLOW):  # from Pillow, or from an impossible offset
            raise errors.damage_of(error) from error
        reason = Reason.NOT_FOUND if error.errno == errno.ENOENT else Reason.UNREADABLE
        raise UndecodableError(reason, f"cannot be read ({error.strerror}); run again") from error
    except Exception as error:  # broken bytes make Pillow raise nearly every exception that Python has
        raise errors.damage_of(error) from error


def _in_memory(file: BufferedReader) -> io.BytesIO | None:
    """Return the whole file if it is a JPEG, so that the bytes whose digest is checked are those that are decoded."""
    is_jpeg = extension(file.read(HEAD)) == "jpg"
    file.seek(0)
    if not is_jpeg or os.fstat(file.fileno()).st_size > MAX_IN_MEMORY:
        return None
    content = file.read()  # with a limit, Python would take that much memory first
    file.seek(0)
    return io.BytesIO(content) if len(content) <= MAX_IN_MEMORY else None


def _check_digest(file: BufferedReader | io.BytesIO, sha256: bytes) -> None:
    if hashlib.file_digest(file, "sha256").digest() != sha256:
        raise UndecodableError(Reason.UNREADABLE, "changed while it was being read; run again")
    file.seek(0)


def _decode_file(
    file: BinaryIO, path: Path, sandbox: DecodeSandbox | None, draft_side: int, max_pixels: int
) -> DecodedFile:
    head = file.read(HEAD)
    kind = extension(head)
    if kind is None:
        raise errors.unknown_type(head)
    if sandbox is not None and not is_sound(file, kind):
        image = sandbox.open_rgb(path, max_pixels)
        return DecodedFile(image, image.size)
    file.seek(0)
    if kind == "tiff":
        silence()
    try:
        return _decode_or_repair(file, kind, draft_side, max_pixels)
    except (UndecodableError, MemoryError):
        raise
    except Exception as error:
        if is_cut_off(file, kind):
            raise errors.cut_off() from error
        raise


def _decode_or_repair(file: BinaryIO, kind: str, draft_side: int, max_pixels: int) -> DecodedFile:
    """Decode a file or, only if that fails, a copy without the parts that browsers ignore."""
    try:
        return _decode_pixels(file, kind, draft_side, max_pixels)
    except (UndecodableError, MemoryError):
        raise
    except Exception:
        copy = repair(file, kind)
        if copy is None:
            raise
    return _decode_pixels(copy, kind, draft_side, max_pixels)


def _decode_pixels(file: BinaryIO, kind: str, draft_side: int, max_pixels: int) -> DecodedFile:
    try:
        opened = Image.open(file, formats=_FORMATS[kind])
    except Image.DecompressionBombError as error:
        raise errors.too_large(max_pixels) from error
    except KeyError as error:
        raise UndecodableError(Reason.NOT_AN_IMAGE, f"this Pillow cannot read {kind}; update Pillow") from error
    with opened as image:
        if image.width * image.height > max_pixels:
            raise errors.too_large(max_pixels)
        size = image.size
        is_drafted = kind == "jpg" and draft_side > 0 and max(size) <= _MAX_DRAFT_RATIO * min(size)
        factor = draft_factor(size, draft_side) if is_drafted else 1
        loaded = _load(image, file, factor)
        # After loading: Pillow reads EXIF that follows the pixels only then, and turns TIFFs itself.
        turn = _transpose(image)
        upright = to_rgb(loaded)
    if turn is not None:
        upright = upright.transpose(turn)
        size = size[::-1] if turn in _SWAPS_SIDES else size
    if factor == 1:
        return DecodedFile(upright, upright.size)
    return DecodedFile(upright, size, _covered_box(upright, size, factor, turn))


def _load(image: Image.Image, file: BinaryIO, factor: int) -> Image.Image:
    """Decode an opened image, smaller by `factor`; only a JPEG may have one other than 1."""
    if image.format in _JPEGS and isinstance(file, io.BytesIO):
        pixels = decode_jpeg(file.getvalue(), image.mode, image.size, factor)
        if pixels is not None:
            pixels.info = image.info
            return pixels
    if factor > 1:
        image.draft(None, (image.width // factor, image.height // factor))
    image.load()
    return image


def _covered_box(
    upright: Image.Image, size: tuple[int, int], factor: int, turn: Image.Transpose | None
) -> tuple[float, float, float, float]:
    """Return the part of an image, decoded smaller by `factor`, that the original of that `size` covers."""
    width, height = size[0] / factor, size[1] / factor
    left = upright.width - width if turn in _MIRRORS_X else 0.0
    top = upright.height - height if turn in _MIRRORS_Y else 0.0
    return left, top, left + width, top + height


def _transpose(image: Image.Image) -> Image.Transpose | None:
    """Return what turns an image upright, None if nothing has to."""
    try:
        return _TO_UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  viewers ignore broken EXIF
        return None


def _silence_pillow() -> None:
    """Ignore Pillow's warnings and log messages about odd files: what matters in them becomes an error anyway.

    Checked in each call, because another part of the process may put its own filter first. `catch_warnings` cannot be
    used: it swaps the filters of all threads.
    """
    logger = logging.getLogger("PIL")
    if not logger.handlers:  # without one, Python prints the messages
        logger.addHandler(logging.NullHandler())
    if not warnings.filters or warnings.filters[0][3] != _PILLOW:
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)
