"""The rows that exports are written from, in catalog order, spooled to disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ingest.core.records import ImageFile, Reason, Skipped
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")

_HEX = 64  # digits of a key, which the id follows as JSON
_NO_KEY = "-" * _HEX  # a product without an image


class ExportRows:
    """The (product id, image key) pairs of one pass over a catalog, and the products that have no image.

    Kept in an unnamed file in `folder`, which the system deletes when the process ends, not in memory. `content` is 64
    hex digits over all pairs in order, so equal lists have equal digests. `rows` counts the pairs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115  open until close()
        self._digest = hashlib.sha256()
        self.rows = 0

    @property
    def content(self) -> str:
        """64 hex digits over the pairs noted so far."""
        return self._digest.hexdigest()

    def note(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, and note each image and each product that has none."""
        for record in records:
            if isinstance(record, ImageFile):
                line = f"{record.sha256.hex()}{json.dumps(record.product.product_id)}\n"
                self._write(line)
                self._digest.update(line.encode())
                self.rows += 1
            elif isinstance(record, Skipped) and record.product_id and record.reason is not Reason.DUPLICATE_ID:
                self._write(f"{_NO_KEY}{json.dumps(record.product_id)}\n")
            yield record

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key), in catalog order."""
        return ((product_id, key) for product_id, key in self.products() if key is not None)

    def products(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield the id of every product in the catalog, in its order, with its image's key or None."""
        with storage_errors(self._folder):
            self._file.flush()
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line[_HEX:]), None if line.startswith(_NO_KEY) else bytes.fromhex(line[:_HEX])

    def _write(self, line: str) -> None:
        with storage_errors(self._folder):
            self._file.write(line)

    def close(self) -> None:
        """Free the disk space; rows that a full disk did not take are no longer needed."""
        with suppress(OSError):
            self._file.close()
