"""An image file → the pixels that a model takes, and what was seen on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ingest.images.decode.base import DecodedImage
from ingest.images.decode.content import content_of
from ingest.images.decode.decoder import MAX_PIXELS, decode
from ingest.images.decode.errors import UndecodableError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Crop
    from ingest.images.decode.base import Outcome
    from ingest.images.decode.decoder import DecodeSandbox


@dataclass(frozen=True, slots=True)
class ModelPixels:
    """Decodes files for one model, the same on a thread and in a process of its own.

    `preprocess` makes the pixels, or a part to be resized, from an upright RGB image; what it raises is a bug, and
    raised. With a `draft_side`, large JPEGs are decoded smaller, their shorter side at least that long, and
    `preprocess` gets the original size and the box as well. `sandbox` decodes files that are not sound.
    """

    preprocess: Callable[..., NDArray[np.uint8] | Crop]
    draft_side: int = 0
    max_pixels: int = MAX_PIXELS
    sandbox: DecodeSandbox | None = None

    def __call__(self, path: Path, sha256: bytes, content: bytes | None = None) -> Outcome:
        """Decode the file with that digest, or its `content` if that is known."""
        try:
            decoded = decode(
                path, self.sandbox, self.max_pixels, draft_side=self.draft_side, sha256=sha256, content=content
            )
            seen = content_of(decoded, path, self.sandbox, self.max_pixels)
        except UndecodableError as error:
            return error
        original = () if decoded.box is None else (decoded.size, decoded.box)
        return DecodedImage(self.preprocess(decoded.image, *original), seen)
