"""The decode stage of the pipeline: image files become the pixels that the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.records import Decoded, ImageFile, Skipped, Stage
from ingest.core.redaction import printable
from ingest.images.decode.errors import UndecodableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from ingest.core.records import Embedded
    from ingest.images.cache.entry import ImageContent
    from ingest.images.decode.base import BlockDecoder, Outcome


class Decoder:
    """Turns each ImageFile of a block into a Decoded, or a Skipped of `Stage.DECODE`; passes other records through.

    `on_decoded` is called with the digests and contents of images that were decoded, `on_failed` for each that cannot
    be. For any number of threads.
    """

    def __init__(
        self,
        files: BlockDecoder,
        on_decoded: Callable[[Iterable[tuple[bytes, ImageContent]]], None] | None = None,
        on_failed: Callable[[ImageFile, UndecodableError], None] | None = None,
    ) -> None:
        self.files = files
        self._on_decoded = on_decoded
        self._on_failed = on_failed

    def __call__(self, block: Sequence[ImageFile | Embedded | Skipped]) -> list[Decoded | Embedded | Skipped]:
        """Return the records in order, with the images decoded."""
        images = [record for record in block if isinstance(record, ImageFile) and record.decoded is None]
        outcomes = self.files.decode([(image.path, image.sha256) for image in images])
        decoded = (record for _, record in self.record(zip(images, outcomes, strict=True)))
        return [record.decoded or next(decoded) if isinstance(record, ImageFile) else record for record in block]

    def record(self, outcomes: Iterable[tuple[ImageFile, Outcome]]) -> list[tuple[ImageFile, Decoded | Skipped]]:
        """Return images with what came of them as a record, and say so to `on_decoded` and `on_failed`."""
        records: list[tuple[ImageFile, Decoded | Skipped]] = []
        contents: list[tuple[bytes, ImageContent]] = []
        for image, outcome in outcomes:
            if isinstance(outcome, UndecodableError):
                records.append((image, self._fail(image, outcome)))
            else:
                contents.append((image.sha256, outcome.content))
                records.append((image, Decoded(image.product, image.sha256, outcome.pixels)))
        if self._on_decoded is not None and contents:
            self._on_decoded(contents)
        return records

    def _fail(self, image: ImageFile, error: UndecodableError) -> Skipped:
        if self._on_failed is not None:
            self._on_failed(image, error)
        detail = f"{printable(str(image.path))}: {error.detail}"
        return image.product.skipped(Stage.DECODE, error.reason, detail)
