"""Hashes images again, to prove that their bytes are those that were recorded, whatever their size and time say."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from ingest.core.records import Differing, Picture
from ingest.runtime import parallel
from ingest.runtime.atomic_files import reason

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.core.records import Skipped

_AHEAD = 256  # images hashed before their turn


class Hashing:
    """Hashes the images that pass, on `workers` threads: `pictures` counts them, `differing` says which differ."""

    def __init__(self, workers: int) -> None:
        self.pictures = 0
        self.differing: list[Differing] = []
        self._workers = workers

    def passing(self, records: Iterable[Picture | Skipped]) -> Iterator[Picture | Skipped]:
        """Pass every record on, and hash the images among them."""
        hashed = parallel.pmap(_hash, records, workers=self._workers, ahead=_AHEAD, here=_is_skipped)
        for record, fault in hashed:
            if isinstance(record, Picture):
                self.pictures += 1
                if fault:
                    self.differing.append(Differing("image", record.product.product_id, fault))
            yield record


def _hash(record: Picture | Skipped) -> tuple[Picture | Skipped, str]:
    """Return a record and, of an image, what is wrong with its bytes."""
    if not isinstance(record, Picture):
        return record, ""
    try:
        with record.path.open("rb") as file:
            same = hashlib.file_digest(file, "sha256").digest() == record.sha256
    except OSError as error:
        return record, f"{str(record.path)!a} cannot be read ({reason(error)})"
    return record, "" if same else f"{str(record.path)!a} has other bytes than those that were embedded"


def _is_skipped(record: Picture | Skipped) -> bool:
    return not isinstance(record, Picture)
