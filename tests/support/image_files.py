"""Images as bytes, and as files that a user put into the cache."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image

    from ingest.images.cache.cache import ImageCache


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def drop(cache: ImageCache, name: str, content: bytes) -> None:
    """Put a file into the folder as a user does between two runs."""
    (cache.folder / name).write_bytes(content)
    cache._files._has_strays = True  # what opening would find
