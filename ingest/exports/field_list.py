"""The typed fields of the catalog's products, in catalog order, spooled to disk for the Parquet export."""

from __future__ import annotations

import hashlib
import json
import math
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar

from ingest.core.records import Product, Reason, Skipped
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from ingest.core.field import Field
    from ingest.core.records import Scalar

T = TypeVar("T")


class ExportFields:
    """The typed `fields` of every product of one pass over a catalog, by product id.

    Kept in an unnamed file in `folder`, which the system deletes when the process ends, not in memory. `content` is 64
    hex digits over all of it. A missing number is None, and so is every value of a row that is no product today.
    """

    def __init__(self, folder: Path, fields: Sequence[Field]) -> None:
        self._folder = folder
        self._names = [field.name for field in fields]
        with storage_errors(folder):
            self._file = tempfile.TemporaryFile("w+", encoding="utf-8", dir=folder)  # noqa: SIM115  open until close()
        self._digest = hashlib.sha256()

    @property
    def content(self) -> str:
        """64 hex digits over what was noted so far."""
        return self._digest.hexdigest()

    def note(self, records: Iterable[T]) -> Iterator[T]:
        """Pass every record on, and note each product."""
        for record in records:
            if isinstance(record, Product):
                self._write(record.product_id, [_known(record.metadata.get(name)) for name in self._names])
            elif isinstance(record, Skipped) and record.product_id and record.reason is not Reason.DUPLICATE_ID:
                self._write(record.product_id, [None] * len(self._names))
            yield record

    def rows(self) -> Iterator[tuple[str, list[Scalar | None]]]:
        """Yield each product's id and values, in catalog order."""
        with storage_errors(self._folder):
            self._file.flush()
        self._file.seek(0)
        for line in self._file:
            product_id, *values = json.loads(line)
            yield product_id, values

    def close(self) -> None:
        """Free the disk space; rows that a full disk did not take are no longer needed."""
        with suppress(OSError):
            self._file.close()

    def _write(self, product_id: str, values: list[Scalar | None]) -> None:
        line = json.dumps([product_id, *values]) + "\n"
        self._digest.update(line.encode())
        with storage_errors(self._folder):
            self._file.write(line)


def _known(value: Scalar | None) -> Scalar | None:
    return None if isinstance(value, float) and math.isnan(value) else value
