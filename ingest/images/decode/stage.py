"""The decode stage of the pipeline: image files become the pixels that the model takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.core.records import Decoded, ImageFile, Skipped, Stage
from ingest.core.redaction import printable
from ingest.images.decode.decoder import MAX_PIXELS, decode
from ingest.images.decode.errors import UndecodableError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Embedded
    from ingest.images.decode.decoder import DecodedFile, DecodeSandbox


class Decoder:
    """Turns an ImageFile into a Decoded, or a Skipped of `Stage.DECODE`; passes every other record through.

    `preprocess` makes (size, size, 3) uint8 from an upright RGB image. With a `draft_side`, large JPEGs are decoded
    smaller, their shorter side at least that long, and `preprocess` gets the original `size` and the `box` as well.
    `on_decoded` is called for each image that was decoded, `on_failed` for each that cannot be. For any number of
    threads.
    """

    def __init__(
        self,
        preprocess: Callable[..., NDArray[np.uint8]],
        sandbox: DecodeSandbox | None = None,
        *,
        draft_side: int = 0,
        max_pixels: int = MAX_PIXELS,
        on_decoded: Callable[[ImageFile, DecodedFile], None] | None = None,
        on_failed: Callable[[ImageFile, UndecodableError], None] | None = None,
    ) -> None:
        self._preprocess = preprocess
        self._sandbox = sandbox
        self._draft_side = draft_side
        self._max_pixels = max_pixels
        self._on_decoded = on_decoded
        self._on_failed = on_failed

    def __call__(self, record: ImageFile | Embedded | Skipped) -> Decoded | Embedded | Skipped:
        """Return the image decoded; an error of `preprocess` is raised."""
        if not isinstance(record, ImageFile):
            return record
        product = record.product
        try:
            decoded = decode(
                record.path, self._sandbox, self._max_pixels, draft_side=self._draft_side, sha256=record.sha256
            )
        except UndecodableError as error:
            if self._on_failed is not None:
                self._on_failed(record, error)
            detail = f"{printable(str(record.path))}: {error.detail}"
            return product.skipped(Stage.DECODE, error.reason, detail)
        if self._on_decoded is not None:
            self._on_decoded(record, decoded)
        original = () if decoded.box is None else (decoded.size, decoded.box)
        pixels = self._preprocess(decoded.image, *original)
        return Decoded(product, record.sha256, pixels)
