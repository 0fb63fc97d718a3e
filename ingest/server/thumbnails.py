"""The catalog's pictures, shown by product id alone."""

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

SIDES = (16, 2048)
"""Pixels of a shown picture's longer side: the least and the most."""
_KEPT_BYTES = 64 * 2**20


class Thumbnails:
    """The catalog's pictures as the runs recorded them, made small; for many threads.

    A product's file is looked up in the cache's index, never made of its id, and shown only while its content has
    the SHA-256 that was recorded: what somebody put in its place since is not the catalog's. Only pixels go out.
    """

    def __init__(self, folder: Path, sandbox: Sandbox) -> None:
        self._folder = folder
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[bytes, int], bytes] = OrderedDict()
        self._bytes = 0

    def jpeg(self, product_id: str, side: int) -> tuple[bytes, str]:
        """Return a JPEG of at most `side` pixels a side, and a tag that changes with it; raises NotFoundError."""
        path, sha256 = self._found(product_id)
        tag = f'"{sha256.hex()[:32]}-{side}"'
        with self._lock:
            kept = self._kept.get((sha256, side))
            if kept is not None:
                self._kept.move_to_end((sha256, side))
                return kept, tag
        made = self._made(path, sha256, side)
        with self._lock:
            if (sha256, side) not in self._kept:
                self._kept[sha256, side] = made
                self._bytes += len(made)
            while self._bytes > _KEPT_BYTES:
                self._bytes -= len(self._kept.popitem(last=False)[1])
        return made, tag

    def _found(self, product_id: str) -> tuple[Path, bytes]:
        path = self._folder / INDEX
        nothing = NotFoundError(f"no picture of product {product_id} on this machine")
        if not path.is_file():
            raise nothing
        try:
            # opened each time: a run may have replaced the file, and opening is cheap
            index = ImageIndex(path, open_read_only)
            try:
                entry = index.get(product_id)
            finally:
                index.close()
        except IngestError as error:
            raise nothing from error
        if entry is None or entry.sha256 is None:
            raise nothing
        return (self._folder / entry.file if entry.file else Path(entry.source)), entry.sha256

    def _made(self, path: Path, sha256: bytes, side: int) -> bytes:
        gone = NotFoundError("the picture has changed or gone since the last run")
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
