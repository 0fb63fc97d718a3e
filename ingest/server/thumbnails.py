"""Catalog images by product id, scaled down."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.core.errors import IngestError
from ingest.images.cache.cache import INDEX
from ingest.images.cache.index import ImageIndex, open_read_only
from ingest.search.product_images import jpeg, thumbnail
from ingest.server.responses import NotFoundError

if TYPE_CHECKING:
    from ingest.images.decode.sandbox import Sandbox

_KEPT_BYTES = 64 * 2**20


class Thumbnails:
    """Scales down the images that the runs recorded, and keeps the latest in memory; for many threads.

    A product's file is looked up in the index of the image cache, never derived from its id, and served only if its
    content still has the recorded SHA-256: a file put in its place is not part of the catalog. The image is encoded
    again, so that nothing but pixels leaves.
    """

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._bytes = 0

    def jpeg(self, product_id: str, side: int) -> tuple[bytes, str]:
        """Return a JPEG of at most `side` pixels a side, and a tag that changes with it; raises NotFoundError."""
        path, sha256 = self._find(product_id)
        tag = f'"{sha256.hex()[:32]}-{side}"'
        with self._lock:
            kept = self._kept.get((sha256, side))
            if kept is not None:
                self._kept.move_to_end((sha256, side))
                return kept, tag
        made = self._make(path, sha256, side)
        with self._lock:
            if (sha256, side) not in self._kept:
                self._kept[sha256, side] = made
                self._bytes += len(made)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made, tag

    def _find(self, product_id: str) -> tuple[Path, bytes]:
        path = self._folder / INDEX
        missing = NotFoundError(f"no image of product {product_id} on this machine")
        if not path.is_file():
            raise missing
        try:
            # opened each time: a run may have replaced the file, and opening is cheap
            index = ImageIndex(path, open_read_only)
            try:
                entry = index.get(product_id)
            finally:
                index.close()
        except IngestError as error:
            raise missing from error
        if entry is None or entry.sha256 is None:
            raise missing
        return (self._folder / entry.file if entry.file else Path(entry.source)), entry.sha256

    def _make(self, path: Path, sha256: bytes, side: int) -> bytes:
        gone = NotFoundError("the image has changed or is gone since the last run")
        try:
            with path.open("rb") as file:
                if hashlib.file_digest(file, "sha256").digest() != sha256:
                    raise gone
        except OSError as error:
            raise gone from error
        image = thumbnail(path, side, self._sandbox)
        if image is None:
            raise gone
        return jpeg(image)
