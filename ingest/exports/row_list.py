"""The rows that exports are written from, in catalog order, spooled to disk."""

from __future__ import annotations

import hashlib
import json
import tempfile
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from ingest.core.records import ImageFile, Reason, Skipped
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

T = TypeVar("T")

_KEY = 32
_RECORD = 1 + _KEY  # whether there is an image, and its key
_NO_IMAGE = bytes(_RECORD)
_BLOCK = 4096  # records read or written at a time


class ExportRows:
    """The (product id, image key) pairs of one pass over a catalog, and the products that have no image.

    Kept in two unnamed files in `folder`, which the system deletes when the process ends, not in memory: the ids, and
    the keys as records of one size. So a key may come later than its product, in any order.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._ids = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115  open until close()
            self._keys = tempfile.TemporaryFile("w+b", buffering=0, dir=folder)  # noqa: SIM115
        self._products = 0
        self._unwritten = bytearray()  # the last records
        self._described: tuple[int, str] | None = None

    @property
    def rows(self) -> int:
        """How many pairs have been noted so far."""
        return self._describe()[0]

    @property
    def content(self) -> str:
        """64 hex digits over the pairs noted so far, in catalog order: equal lists have equal digests."""
        return self._describe()[1]

    def note(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, and note each image and each product that has none."""
        for record in records:
            if isinstance(record, ImageFile):
                self.add(record.product.product_id, record.sha256)
            elif isinstance(record, Skipped) and is_listed(record):
                self.add(record.product_id)
            yield record

    def add(self, product_id: str, key: bytes | None = None) -> int:
        """Note the next product of the catalog; without a key it has no image, unless `fill` comes with it.

        Returns its place.
        """
        with storage_errors(self.folder):
            self._ids.write(f"{json.dumps(product_id)}\n")
        self._unwritten += _NO_IMAGE if key is None else b"\1" + key
        self._products += 1
        self._described = None
        if len(self._unwritten) >= _BLOCK * _RECORD:
            self._flush()
        return self._products - 1

    def fill(self, keys: Iterable[tuple[int, bytes]]) -> None:
        """Note the images of products that were added without, as (place, 32-byte key)."""
        self._flush()
        self._described = None
        for place, key in keys:
            self._write_at(place * _RECORD, b"\1" + key)

    def pairs(self) -> Iterator[tuple[str, bytes]]:
        """Yield every (product id, 32-byte key), in catalog order."""
        return ((product_id, key) for product_id, key in self.products() if key is not None)

    def products(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield the id of every product in the catalog, in its order, with its image's key or None."""
        return ((json.loads(line), key) for line, key in self._lines())

    def close(self) -> None:
        """Free the disk space; rows that a full disk did not take are no longer needed."""
        for file in (self._ids, self._keys):
            with suppress(OSError):
                file.close()

    def _flush(self) -> None:
        self._write_at(self._products * _RECORD - len(self._unwritten), self._unwritten)
        self._unwritten.clear()

    def _write_at(self, offset: int, content: bytes | bytearray) -> None:
        rest = bytes(content)
        with storage_errors(self.folder):
            self._keys.seek(offset)
            while rest:
                rest = rest[self._keys.write(rest) :]  # a disk that is nearly full takes a part

    def _lines(self) -> Iterator[tuple[str, bytes | None]]:
        """Yield every product's id as a line of JSON, and its image's key or None."""
        self._flush()
        with storage_errors(self.folder):
            self._ids.flush()
        self._ids.seek(0)
        for start in range(0, self._products, _BLOCK):
            self._keys.seek(start * _RECORD)
            records = self._keys.read(_BLOCK * _RECORD)
            for at, line in enumerate(islice(self._ids, min(_BLOCK, self._products - start))):
                record = records[at * _RECORD : (at + 1) * _RECORD]
                yield line, record[1:] if record[0] else None

    def _describe(self) -> tuple[int, str]:
        if self._described is None:
            digest, rows = hashlib.sha256(), 0
            for line, key in self._lines():
                if key is not None:
                    digest.update(f"{key.hex()}{line}".encode())
                    rows += 1
            self._described = rows, digest.hexdigest()
        return self._described


def is_listed(skipped: Skipped) -> bool:
    """Whether exports list the product of a skipped row: not without an id, and each id once."""
    return bool(skipped.product_id) and skipped.reason is not Reason.DUPLICATE_ID
