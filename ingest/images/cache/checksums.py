"""Hashes images again, to prove that their bytes are those that were recorded, whatever their size and time say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Mismatch
from ingest.runtime import parallel
from ingest.runtime.atomic_files import reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped

_AHEAD = 256  # images hashed before their turn


class ImageHasher:
    """Hashes the images that pass, on `workers` threads: `pictures` counts them, `differing` says which differ."""

    def __init__(self, workers: int) -> None:
        self.pictures = 0
        self.differing: list[Mismatch] = []
        self._workers = workers

    def passing(self, records: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Pass every record on, and hash the images among them."""
        hashed = parallel.parallel_map(_hash, records, workers=self._workers, ahead=_AHEAD, here=_is_skipped)
        for record, fault in hashed:
            if isinstance(record, ImageFile):
                self.pictures += 1
                if fault:
                    self.differing.append(Mismatch("image", record.product.product_id, fault))
            yield record


def _hash(record: ImageFile | Skipped) -> tuple[ImageFile | Skipped, str]:
    """Return a record and, of an image, what is wrong with its bytes."""
    if not isinstance(record, ImageFile):
        return record, ""
    try:
        with record.path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").digest() == record.sha256
    except OSError as error:
        return record, f"{str(record.path)!a} cannot be read ({reason(error)})"
    return record, "" if same else f"{str(record.path)!a} has other bytes than those that were embedded"


def _is_skipped(record: ImageFile | Skipped) -> bool:
    return not isinstance(record, ImageFile)
