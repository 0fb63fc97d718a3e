"""Size and one-colour checks: which images are unwanted."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Reason, Skipped, Stage
from ingest.core.redaction import redact
from ingest.images.decode.content import measure
from ingest.images.decode.decoder import MAX_PIXELS, open_rgb
from ingest.images.decode.errors import UndecodableError

if TYPE_CHECKING:
    from pathlib import Path

    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.entry import ImageContent
    from ingest.images.decode.decoder import DecodeSandbox


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
        sandbox: DecodeSandbox | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        self._cache = cache
        self._filter = quality_filter
        self._sandbox = sandbox
        self._max_pixels = max_pixels

    @property
    def looks(self) -> bool:
        """Whether it looks at any image, because something is unwanted."""
        return self._filter != QualityFilter()

    def __call__(self, record: ImageFile | Skipped) -> ImageFile | Skipped:
        """Return the record, or a Skipped if its image is unwanted."""
        if isinstance(record, Skipped) or not self.looks:
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

    def _measure(self, path: Path, sha256: bytes) -> ImageContent:
        content = measure(open_rgb(path, self._sandbox, self._max_pixels))
        self._cache.index.put_contents([(sha256, content)])
        return content
