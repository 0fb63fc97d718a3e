"""What is seen of a picture when it is decoded, and which pictures a user does not want."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Reason, Skipped, Stage
from ingest.images.cache.index import ImageContent
from ingest.images.decode.decoder import MAX_PIXELS, UndecodableError, open_rgb
from ingest.images.urls import plain

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.decoder import DecodedFile
    from ingest.images.decode.sandbox import Sandbox

_SAME = 3  # levels of 255 by which one colour may differ after compression
_SAMPLE = (16, 16)


def measure(image: Image.Image) -> ImageContent:
    """Return the sides of an RGB picture and whether all of it is one colour."""
    # Most pictures differ within a few of their pixels already.
    blank = _is_one_colour(image.resize(_SAMPLE, 0)) and _is_one_colour(image)
    return ImageContent(image.width, image.height, blank)


def _is_one_colour(image: Image.Image) -> bool:
    return all(high - low <= _SAME for low, high in image.getextrema())  # type: ignore[misc]


@dataclass(frozen=True, slots=True)
class QualityFilter:
    """What a picture must be: its shorter side in pixels, and whether one colour will do."""

    min_side: int = 0
    skip_blank: bool = False

    def fault(self, content: ImageContent) -> tuple[Reason, str] | None:
        """Return why a picture is not wanted, None where it is."""
        if min(content.width, content.height) < self.min_side:
            size = f"{content.width} x {content.height} pixels"
            return Reason.TOO_SMALL, f"{size}, less than --min-side {self.min_side}; put a larger picture there"
        if content.blank and self.skip_blank:
            return Reason.BLANK, "all of one colour; put a picture of the product there"
        return None


class Inspector:
    """Turns an ImageFile that is not wanted into a Skipped; passes every other record. May be called from many threads.

    A picture that was never decoded is decoded for it, and what was seen written down.
    """

    def __init__(
        self, cache: ImageCache, quality_filter: QualityFilter, sandbox: Sandbox | None = None, most: int = MAX_PIXELS
    ) -> None:
        self._cache = cache
        self._wish = quality_filter
        self._sandbox = sandbox
        self._most = most

    def __call__(self, record: ImageFile | Skipped) -> ImageFile | Skipped:
        """Return the record, or why its picture is not wanted."""
        if isinstance(record, Skipped) or self._wish == QualityFilter():
            return record
        try:
            content = self._cache.index.content(record.sha256) or self._seen(record.path, record.sha256)
        except UndecodableError:
            return record  # the decode stage tells
        fault = self._wish.fault(content)
        if fault is None:
            return record
        product = record.product
        detail = f"{plain(str(record.path))}: {fault[1]}"
        return product.skipped(Stage.IMAGES, fault[0], detail)

    def content(self, picture: ImageFile, opened: DecodedFile) -> ImageContent:
        """Return what is seen of a picture; one that is blank when decoded smaller is looked at whole, for a speck."""
        content = measure(opened.image)
        if content.blank and opened.box is not None:
            return measure(open_rgb(picture.path, self._sandbox, self._most))
        return replace(content, width=opened.size[0], height=opened.size[1])

    def _seen(self, path: Path, sha256: bytes) -> ImageContent:
        content = measure(open_rgb(path, self._sandbox, self._most))
        self._cache.index.put_content(sha256, content)
        return content
