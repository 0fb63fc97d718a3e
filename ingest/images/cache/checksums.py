"""Hashes images again, to check that their bytes are those recorded even if size and mtime are unchanged."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Mismatch
from ingest.runtime import parallel
from ingest.runtime.atomic_files import reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped

_AHEAD = 256  # images hashed ahead of the pipeline


class ImageHasher:
    """Hashes images on `workers` threads; `images` counts them, `mismatches` lists those with other bytes."""

    def __init__(self, workers: int) -> None:
        self.images = 0
        self.mismatches: list[Mismatch] = []
        self._workers = workers

    def check(self, records: Iterable[ImageFile | Skipped]) -> Iterator[ImageFile | Skipped]:
        """Yield every record, with the images among them hashed."""
        hashed = parallel.parallel_map(_hash, records, workers=self._workers, ahead=_AHEAD, here=_is_skipped)
        for record, fault in hashed:
            if isinstance(record, ImageFile):
                self.images += 1
                if fault:
                    self.mismatches.append(Mismatch("image", record.product.product_id, fault))
            yield record


def _hash(record: ImageFile | Skipped) -> tuple[ImageFile | Skipped, str]:
    """Return a record, and what is wrong with the bytes of an image, "" if nothing is."""
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
