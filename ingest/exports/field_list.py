"""The typed fields of the catalog's products, in catalog order, spooled to disk for the Parquet export."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from contextlib import suppress
from typing import IO, TYPE_CHECKING, TypeVar

from ingest.core.records import ImageFile, Product, Reason, Skipped
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ingest.core.field import Field
    from ingest.core.records import Scalar

T = TypeVar("T")


class ExportFields:
    """The typed `fields` of every product of one pass over a catalog, by product id.

    Kept in unnamed files in `folder`, which the system deletes when the process ends, not in memory, but for 100 bytes
    for each product whose first image is unusable. `content` is 64 hex digits over all of it. A missing number is None,
    and so is every value of a row that is no product today.
    """

    def __init__(self, folder: Path, fields: Sequence[Field]) -> None:
        self._folder = folder
        self._names = [field.name for field in fields]
        with storage_errors(folder):
            self._noted, self._others = _spool(folder), _spool(folder)
        self._digest = hashlib.sha256()
        self._renamed: dict[str, int] = {}  # where in the other file a product's line is
        self._renamed_digest = 0

    @property
    def content(self) -> str:
        """64 hex digits over what was noted so far."""
        digest = self._digest.copy()
        digest.update(self._renamed_digest.to_bytes(32))
        return digest.hexdigest()

    def note(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, and note each product as the catalog has it, in its order."""
        for record in records:
            if isinstance(record, Product):
                self._digest.update(self._write(self._noted, record.product_id, record.metadata))
            elif isinstance(record, Skipped) and record.product_id and record.reason is not Reason.DUPLICATE_ID:
                self._digest.update(self._write(self._noted, record.product_id, {}))
            yield record

    def note_images(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, in any order, and note the products of which another image than the first is used."""
        for record in records:
            if isinstance(record, ImageFile) and record.product.position:
                self._renamed[record.product.product_id] = self._others.seek(0, os.SEEK_END)
                line = self._write(self._others, record.product.product_id, record.product.metadata)
                self._renamed_digest ^= int.from_bytes(hashlib.sha256(line).digest())
            yield record

    def rows(self) -> Iterator[tuple[str, list[Scalar | None]]]:
        """Yield each product's id and values, in catalog order."""
        with storage_errors(self._folder):
            self._noted.flush()
            self._others.flush()
        self._noted.seek(0)
        for line in self._noted:
            product_id, *values = json.loads(line)
            if product_id in self._renamed:
                self._others.seek(self._renamed[product_id])
                product_id, *values = json.loads(self._others.readline())
            yield product_id, values

    def close(self) -> None:
        """Free the disk space; rows that a full disk did not take are no longer needed."""
        for file in (self._noted, self._others):
            with suppress(OSError):
                file.close()

    def _write(self, file: IO[bytes], product_id: str, metadata: Mapping[str, Scalar]) -> bytes:
        line = json.dumps([product_id, *(_known(metadata.get(name)) for name in self._names)]).encode() + b"\n"
        with storage_errors(self._folder):
            file.write(line)
        return line


def _spool(folder: Path) -> IO[bytes]:
    return tempfile.TemporaryFile("w+b", dir=folder)


def _known(value: Scalar | None) -> Scalar | None:
    return None if isinstance(value, float) and math.isnan(value) else value
