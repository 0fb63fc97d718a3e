"""What an image contains: its sides, and whether all of it is one colour."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ingest.images.cache.entry import ImageContent
from ingest.images.decode.decoder import MAX_PIXELS, open_rgb

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from ingest.images.decode.decoder import DecodedFile, DecodeSandbox

_TOLERANCE = 3  # levels of 255 by which one colour may vary after compression
_SAMPLE = (16, 16)


def measure(image: Image.Image) -> ImageContent:
    """Return the sides of an RGB image and whether all of it is one colour."""
    # A sample of the pixels is enough for most images.
    blank = _is_one_colour(image.resize(_SAMPLE, 0)) and _is_one_colour(image)
    return ImageContent(image.width, image.height, blank)


def content_of(
    decoded: DecodedFile, path: Path, sandbox: DecodeSandbox | None = None, max_pixels: int = MAX_PIXELS
) -> ImageContent:
    """Return what a decoded file contains; if it is blank when decoded smaller, all pixels are checked for a speck."""
    content = measure(decoded.image)
    if content.blank and decoded.box is not None:
        return measure(open_rgb(path, sandbox, max_pixels))
    return replace(content, width=decoded.size[0], height=decoded.size[1])


def _is_one_colour(image: Image.Image) -> bool:
    return all(high - low <= _TOLERANCE for low, high in image.getextrema())  # type: ignore[misc]
