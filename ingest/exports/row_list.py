"""What the catalog names, in its order, spooled to disk: the list from which the exports are written."""

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

_HEX = 64  # digits of a key, before the id as JSON writes it
_NONE = "-" * _HEX  # of a product without a picture


class ExportRows:
    """The (product id, picture key) pairs of one pass over a catalog, and the products that came without a picture.

    They lie in an unnamed file in `folder`, which the system removes with the process, and not in memory.
    `content` is 64 hex digits over all pairs in order: two passes that want the same have the same. `rows` counts
    the pairs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115  as long as we live
        self._digest = hashlib.sha256()
        self.rows = 0

    @property
    def content(self) -> str:
        """Return 64 hex digits over the pairs noted so far."""
        return self._digest.hexdigest()

    def noting(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, and note the pictures among them, and which products have none."""
        for record in records:
            if isinstance(record, ImageFile):
                line = f"{record.sha256.hex()}{json.dumps(record.product.product_id)}\n"
                self._write(line)
                self._digest.update(line.encode())
                self.rows += 1
            elif isinstance(record, Skipped) and record.product_id and record.reason is not Reason.DUPLICATE_ID:
                self._write(f"{_NONE}{json.dumps(record.product_id)}\n")
            yield record

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key), in catalog order."""
        return ((product_id, key) for product_id, key in self.named() if key is not None)

    def named(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield every product that the catalog names, in its order: its id, and its picture's key if it has one."""
        with storage_errors(self._folder):
            self._file.flush()
        self._file.seek(0)
        for line in self._file:
            yield json.loads(line[_HEX:]), None if line.startswith(_NONE) else bytes.fromhex(line[:_HEX])

    def _write(self, line: str) -> None:
        with storage_errors(self._folder):
            self._file.write(line)

    def close(self) -> None:
        """Give the disk space back; what a full disk has kept from being written is not wanted any more."""
        with suppress(OSError):
            self._file.close()
