"""The decode stage: bytes on disk to upright RGB pixels, and to the array that the model takes."""

from __future__ import annotations

import errno
import hashlib
import logging
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from PIL import ExifTags, Image, UnidentifiedImageError

from ingest.core.records import Decoded, ImageFile, Reason, Skipped, Stage
from ingest.images.decode.colour import to_rgb
from ingest.images.decode.integrity import is_sound
from ingest.images.decode.libtiff import silence
from ingest.images.decode.repair import repair
from ingest.images.file_type import HEAD, extension, is_cut_off
from ingest.images.urls import plain

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from pathlib import Path
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Embedded

MAX_PIXELS = 64_000_000
"""Unless told otherwise: 192 MB as RGB. The largest cameras of today make 50 megapixels; products are shown at one."""

# Nothing else is ever opened: Pillow reads many formats more, some by running another program.
_FORMATS = {
    "jpg": ("JPEG",),  # MPO too: Pillow has no other way to open it
    "png": ("PNG",),
    "webp": ("WEBP",),
    "gif": ("GIF",),
    "bmp": ("BMP",),
    "tiff": ("TIFF",),
    "avif": ("AVIF",),
}
_PILLOW = re.compile(r"PIL\.")
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_LYING = frozenset(_UPRIGHT[orientation] for orientation in (5, 6, 7, 8))
_FROM_RIGHT = frozenset(_UPRIGHT[orientation] for orientation in (2, 3, 6, 7))
_FROM_BELOW = frozenset(_UPRIGHT[orientation] for orientation in (3, 4, 7, 8))
# Longer strips are decoded whole: of them preprocessing takes the middle, which must not move.
_LONGEST_SHRUNK = 8


class UndecodableError(Exception):
    """A file that gives no pixels: `reason`, and one line of `detail` that does not name the file."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class DecodedFile:
    """A picture as a viewer shows it, perhaps decoded smaller than it is.

    `size` is its own width and height. `box` is the part of a smaller one that the picture covers (left, top, right,
    bottom), for a last row or column may be a fraction of it; None where every pixel is there.
    """

    image: Image.Image
    size: tuple[int, int]
    box: tuple[float, float, float, float] | None = None


class Decoder:
    """Turns an ImageFile into a Decoded, or a Skipped of `Stage.DECODE`; passes every other record through.

    `preprocess` makes (size, size, 3) uint8 of an upright RGB picture. Where `least` is not 0, a JPEG may be decoded
    smaller, its shorter side no smaller than that, and `preprocess` is given its `size` and `box` as well. A picture
    of more than `most` pixels is none. `seen` is told of each picture decoded, `failed` of each that cannot be. May be
    called from many threads.
    """

    def __init__(
        self,
        preprocess: Callable[..., NDArray[np.uint8]],
        sandbox: DecodeSandbox | None = None,
        seen: Callable[[ImageFile, DecodedFile], None] | None = None,
        failed: Callable[[ImageFile, UndecodableError], None] | None = None,
        least: int = 0,
        most: int = MAX_PIXELS,
    ) -> None:
        self._preprocess = preprocess
        self._sandbox = sandbox
        self._seen = seen
        self._failed = failed
        self._least = least
        self._most = most

    def __call__(self, record: ImageFile | Embedded | Skipped) -> Decoded | Embedded | Skipped:
        """Return the picture decoded; what `preprocess` raises is raised."""
        if not isinstance(record, ImageFile):
            return record
        product = record.product
        try:
            opened = _opened(record.path, record.sha256, self._sandbox, self._least, self._most)
        except UndecodableError as error:
            if self._failed is not None:
                self._failed(record, error)
            detail = f"{plain(str(record.path))}: {error.detail}"
            return product.skipped(Stage.DECODE, error.reason, detail)
        if self._seen is not None:
            self._seen(record, opened)
        smaller = () if opened.box is None else (opened.size, opened.box)
        pixels = self._preprocess(opened.image, *smaller)
        return Decoded(product, record.sha256, pixels)


class DecodeSandbox(Protocol):
    """Where pictures are decoded that might take their decoder down."""

    def open_rgb(self, path: Path, most: int) -> Image.Image:
        """Return the file's first picture, of at most so many pixels; raises UndecodableError."""


def open_rgb(path: Path, sandbox: DecodeSandbox | None = None, most: int = MAX_PIXELS) -> Image.Image:
    """Return the file's first picture as a viewer shows it: mode RGB, sRGB, upright, on white.

    Reads JPEG, PNG, WebP, GIF, BMP, TIFF and AVIF of at most `most` pixels. What is not sound goes through the
    sandbox, where there is one. Raises UndecodableError for whatever else the file holds, and where it cannot be
    read. Prints no warning.
    """
    return _opened(path, None, sandbox, 0, most).image


def decode_in_process(path: Path, most: int) -> Image.Image:
    """Return what `open_rgb` does, decoded in this very process whatever it is."""
    return _opened(path, None, None, 0, most).image


def _opened(path: Path, sha256: bytes | None, sandbox: DecodeSandbox | None, least: int, most: int) -> DecodedFile:
    _quiet_pillow()
    try:
        with path.open("rb") as file:
            if sha256 is not None:
                _check_content(file, sha256)
            return _decoded(file, path, sandbox, least, most)
    except UndecodableError:
        raise
    except MemoryError as error:
        raise UndecodableError(Reason.TOO_LARGE, "not enough memory for its pixels; make it smaller") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL, errno.EOVERFLOW):  # Pillow's own, or an offset that cannot be
            raise _damaged(error) from error
        reason = Reason.NOT_FOUND if error.errno == errno.ENOENT else Reason.UNREADABLE
        raise UndecodableError(reason, f"cannot be read ({error.strerror}); run again") from error
    except Exception as error:  # on broken bytes Pillow raises nearly every exception that Python has
        raise _damaged(error) from error


def _check_content(file: BufferedReader, sha256: bytes) -> None:
    """Vectors are kept by the picture's hash for good: no other content's pixels may go under it."""
    if hashlib.file_digest(file, "sha256").digest() != sha256:
        raise UndecodableError(Reason.UNREADABLE, "changed while it was being read; run again")
    file.seek(0)


def _decoded(file: BufferedReader, path: Path, sandbox: DecodeSandbox | None, least: int, most: int) -> DecodedFile:
    head = file.read(HEAD)
    kind = extension(head)
    if kind is None:
        raise _no_picture(head)
    if sandbox is not None and not is_sound(file, kind):
        image = sandbox.open_rgb(path, most)
        return DecodedFile(image, image.size)
    file.seek(0)
    if kind == "tiff":
        silence()
    try:
        return _pixels_at_all(file, kind, least, most)
    except (UndecodableError, MemoryError):
        raise
    except Exception as error:
        if is_cut_off(file, kind):
            raise _cut_off() from error
        raise


def _pixels_at_all(file: BufferedReader, kind: str, least: int, most: int) -> DecodedFile:
    """Decode a file, else a copy without what browsers ignore: what decodes as it is stays as it was."""
    try:
        return _pixels(file, kind, least, most)
    except (UndecodableError, MemoryError):
        raise
    except Exception:
        copy = repair(file, kind)
        if copy is None:
            raise
    return _pixels(copy, kind, least, most)


def _pixels(file: BinaryIO, kind: str, least: int, most: int) -> DecodedFile:
    try:
        opened = Image.open(file, formats=_FORMATS[kind])
    except Image.DecompressionBombError as error:
        raise _too_large(most) from error
    except KeyError as error:
        raise UndecodableError(Reason.NOT_AN_IMAGE, f"this Pillow does not read {kind}; update it") from error
    with opened as image:
        if image.width * image.height > most:
            raise _too_large(most)
        width, height = image.size
        if least and max(width, height) <= _LONGEST_SHRUNK * min(width, height):
            image.draft(None, (least, least))  # does nothing to what is no JPEG
        shrunk = round(width / image.width)  # by 1, 2, 4 or 8, rounded up
        image.load()
        # After loading: only then has Pillow read what follows the pixels, and it turns TIFFs by itself.
        turn = _turn(image)
        upright = to_rgb(image)
    if turn is not None:
        upright = upright.transpose(turn)
    if shrunk == 1:
        return DecodedFile(upright, upright.size)
    size = (height, width) if turn in _LYING else (width, height)
    across, down = size[0] / shrunk, size[1] / shrunk
    left = upright.width - across if turn in _FROM_RIGHT else 0.0
    top = upright.height - down if turn in _FROM_BELOW else 0.0
    return DecodedFile(upright, size, (left, top, left + across, top + down))


def _turn(image: Image.Image) -> Image.Transpose | None:
    try:
        return _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  viewers show a picture with broken EXIF as it lies
        return None


def _no_picture(head: bytes) -> UndecodableError:
    if not head:
        return UndecodableError(Reason.TRUNCATED, "empty; fetch or copy it again")
    return UndecodableError(Reason.NOT_AN_IMAGE, "not a JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF; replace it")


def _too_large(most: int) -> UndecodableError:
    limit = f"{most / 1e6:g} megapixels"
    return UndecodableError(Reason.TOO_LARGE, f"more than {limit}; make it smaller, or raise --max-pixels")


def _cut_off() -> UndecodableError:
    return UndecodableError(Reason.TRUNCATED, "cut off before its end; fetch or copy it again")


def _damaged(error: Exception) -> UndecodableError:
    if isinstance(error, UnidentifiedImageError):  # its text names a Python object
        return UndecodableError(Reason.NOT_AN_IMAGE, "damaged (no readable header); replace it")
    words = plain(str(error))
    if isinstance(error, EOFError) or "truncated" in words.lower():
        return _cut_off()
    return UndecodableError(Reason.NOT_AN_IMAGE, f"damaged ({words or type(error).__name__}); replace it")


def _quiet_pillow() -> None:
    """Have Pillow's warnings and messages about odd files ignored: what matters of them ends in an error anyway.

    Looked at in each call, since another part of the process may put its own filter before this one.
    `catch_warnings` cannot be used: it swaps the filters of all threads.
    """
    logger = logging.getLogger("PIL")
    if not logger.handlers:  # else Python prints what nobody handles
        logger.addHandler(logging.NullHandler())
    if not warnings.filters or warnings.filters[0][3] != _PILLOW:
        warnings.filterwarnings("ignore", module=_PILLOW.pattern)
