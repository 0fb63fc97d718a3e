"""JPEG → pixels by libjpeg-turbo in one call, without Python's lock; bit for bit the pixels that Pillow gives.

Pillow's decoder releases the lock and takes it again for each 64 kB, so that threads wait for one another. What
simplejpeg refuses, and what it may decode differently, is left to Pillow; if simplejpeg is missing, everything is.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, features

from ingest.images.decode.jpeg_repair import FRAMES, segments

try:
    import simplejpeg
except (ImportError, ValueError):  # ValueError: built for another numpy
    simplejpeg = None
if not features.check_feature("libjpeg_turbo"):  # this Pillow has another libjpeg, which gives slightly other pixels
    simplejpeg = None

_COLOURSPACES = {"L": "GRAY", "RGB": "RGB"}
"""By the mode that Pillow reads in the header. CMYK is missing: Pillow inverts it as Adobe does."""
_HUFFMAN = frozenset({0xC0, 0xC1, 0xC2})
"""Frames that both decode (T.81, B.1.1.3). Of arithmetic ones, Pillow refuses those of more than 64 kB."""
_FACTORS = (8, 4, 2)  # of Pillow's `draft`; libjpeg-turbo scales by any eighth
_EIGHTHS = 8
_MAX_PIXELS = 16_000_000
"""For a moment the pixels are in memory twice. Of larger images that would be more than Pillow takes at its limit."""


def draft_factor(size: tuple[int, int], least: int) -> int:
    """Return 1, 2, 4 or 8: by what Pillow's `draft` divides a JPEG's sides, so that none is shorter than `least`."""
    most = min(size) // least
    return next((factor for factor in _FACTORS if factor <= most), 1)


def drafted_size(size: tuple[int, int], factor: int) -> tuple[int, int]:
    """Return the width and height of a JPEG of that `size` decoded smaller by `factor`; fractions are rounded up."""
    return -(-size[0] // factor), -(-size[1] // factor)


def decode_jpeg(content: bytes, mode: str, size: tuple[int, int], factor: int) -> Image.Image | None:
    """Return a JPEG's pixels, decoded smaller by `factor`, in its `mode`: L or RGB. None if Pillow must decode it.

    `mode` and `size` are what Pillow read in the header. Files with any damage are refused, also those that Pillow
    shows in part.
    """
    width, height = drafted_size(size, factor)
    if simplejpeg is None or mode not in _COLOURSPACES or width * height > _MAX_PIXELS:
        return None
    if not _is_clear(size, factor) or _frame(content) not in _HUFFMAN:
        return None
    # Our own buffer: a forged header may have other sides for libjpeg-turbo than for Pillow, which it would allocate.
    pixels = np.empty((height, width) if mode == "L" else (height, width, 3), np.uint8)
    try:
        if simplejpeg.decode_jpeg_header(content)[:2] != (size[1], size[0]):
            return None
        simplejpeg.decode_jpeg(
            content, _COLOURSPACES[mode], min_width=width, min_height=height, buffer=pixels, strict=True
        )
    except Exception:  # noqa: BLE001  Pillow decides what such a file shows, or why it is refused
        return None
    return Image.fromarray(pixels)


def _is_clear(size: tuple[int, int], factor: int) -> bool:
    """Whether sides smaller by `factor` name one scale only; of a few pixels, 5/8 and 1/2 may be as many."""
    return factor == 1 or min(size) >= _EIGHTHS * factor


def _frame(content: bytes) -> int | None:
    """Return the marker of a JPEG's frame, which says how it is coded."""
    return next((segment.marker for segment in segments(content) if segment.marker in FRAMES), None)
