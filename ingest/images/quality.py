"""Size and one-colour checks: what an image contains, and which images are unwanted."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Reason, Skipped, Stage
from ingest.core.redaction import redact
from ingest.images.cache.entry import ImageContent
from ingest.images.decode.decoder import MAX_PIXELS, open_rgb
from ingest.images.decode.errors import UndecodableError

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.decoder import DecodedFile
    from ingest.images.decode.sandbox import Sandbox

_TOLERANCE = 3  # levels of 255 by which one colour may vary after compression
_SAMPLE = (16, 16)


def measure(image: Image.Image) -> ImageContent:
    """Return the sides of an RGB image and whether all of it is one colour."""
    # A sample of the pixels is enough for most images.
    blank = _is_one_colour(image.resize(_SAMPLE, 0)) and _is_one_colour(image)
    return ImageContent(image.width, image.height, blank)


def _is_one_colour(image: Image.Image) -> bool:
    return all(high - low <= _TOLERANCE for low, high in image.getextrema())  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """Which images are wanted: by the pixels of their shorter side, and, with `skip_blank`, not those of one colour."""

    min_side: int = 0
    skip_blank: bool = False

    def fault(self, content: ImageContent) -> tuple[Reason, str] | None:
        """Return why an image is unwanted, None if it is wanted."""
        if min(content.width, content.height) < self.min_side:
            size = f"{content.width} x {content.height} pixels"
            return Reason.TOO_SMALL, f"{size}, less than --min-side {self.min_side}; provide a larger image"
        if content.blank and self.skip_blank:
            return Reason.BLANK, "all of one colour; provide an image of the product"
        return None


class Inspector:
    """Turns an unwanted ImageFile into a Skipped; passes every other record through. For any number of threads.

    An image that was never decoded is decoded here, and its content recorded in the cache.
    """

    def __init__(
        self,
        cache: ImageCache,
        quality_filter: QualityFilter,
        sandbox: Sandbox | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._cache = cache
        self._filter = quality_filter
        self._sandbox = sandbox
        self._max_pixels = max_pixels

    def __call__(self, record: ImageFile | Skipped) -> ImageFile | Skipped:
        """Return the record, or a Skipped if its image is unwanted."""
        if isinstance(record, Skipped) or self._filter == QualityFilter():
            return record
        try:
            content = self._cache.index.content(record.sha256) or self._measure(record.path, record.sha256)
        except UndecodableError:
            return record  # the decode stage reports it
        fault = self._filter.fault(content)
        if fault is None:
            return record
        product = record.product
        detail = f"{redact(str(record.path))}: {fault[1]}"
        return product.skipped(Stage.IMAGES, fault[0], detail)

    def content(self, image: ImageFile, decoded: DecodedFile) -> ImageContent:
        """Return an image's content; if it is blank when decoded smaller, all pixels are checked for a speck."""
        content = measure(decoded.image)
        if content.blank and decoded.box is not None:
            return measure(open_rgb(image.path, self._sandbox, self._max_pixels))
        return replace(content, width=decoded.size[0], height=decoded.size[1])

    def _measure(self, path: Path, sha256: bytes) -> ImageContent:
        content = measure(open_rgb(path, self._sandbox, self._max_pixels))
        self._cache.index.put_content(sha256, content)
        return content
