"""Local files read and images decoded as the pipeline does it, one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ingest.images.decode.decoder import MAX_PIXELS
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import ThreadDecoder
from ingest.images.decode.stage import Decoder
from ingest.images.reading import read_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Decoded, Embedded, ImageFile, Skipped
    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.entry import CacheEntry
    from ingest.images.decode.decoder import DecodeSandbox


def record_local(cache: ImageCache, product_id: str, path: Path) -> CacheEntry:
    """Return the row of an image outside of the cache, which is read if it has none."""
    (found,) = cache.find_local([(product_id, path)])
    if isinstance(found, OSError | ValueError):
        raise found
    if found is None:
        cache.record_local([(product_id, path, read_file(path)[0])])
    entry = found or cache.get(product_id)
    assert entry is not None
    return entry


def decode_one(
    record: ImageFile | Embedded | Skipped,
    preprocess: Callable[..., NDArray[np.uint8]],
    sandbox: DecodeSandbox | None = None,
    *,
    draft_side: int = 0,
    max_pixels: int = MAX_PIXELS,
) -> Decoded | Embedded | Skipped:
    """Return what the decode stage makes of a record."""
    files = ThreadDecoder(ModelPixels(preprocess, draft_side, max_pixels, sandbox))
    (result,) = Decoder(files)([record])
    return result
