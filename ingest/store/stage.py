"""The store as stages of the line: what it knows passes the model by, and what is new is on disk before it goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.core.records import Embedded, ImageFile
from ingest.runtime.parallel import batched_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from numpy.typing import NDArray

    from ingest.core.records import Skipped
    from ingest.store.base import EmbeddingStore

_LOOKED_UP, _LOOKED_UP_S = 256, 0.05  # pictures looked up together, and how long the first of them may wait
_HELD = 32  # batches of records that may wait for one vector to be written, so that memory is bounded


def lookup(records: Iterable[ImageFile | Skipped], store: EmbeddingStore) -> Iterator[ImageFile | Embedded | Skipped]:
    """Turn each picture whose vector is known into an `Embedded`, in order; they are looked up some at a time."""
    for group in batched_within(records, _LOOKED_UP, _LOOKED_UP_S):
        pictures = [record for record in group if isinstance(record, ImageFile)]
        found = dict(zip([p.sha256 for p in pictures], store.find([p.sha256 for p in pictures]), strict=True))
        for record in group:
            vector = found.get(record.sha256) if isinstance(record, ImageFile) else None
            if isinstance(record, ImageFile) and vector is not None:
                yield Embedded(record.product, record.sha256, vector, stored=True)
            else:
                yield record


def append(
    records: Iterable[Embedded | Skipped], store: EmbeddingStore, batch: int | Callable[[], int]
) -> Iterator[Embedded | Skipped]:
    """Write new vectors as a shard for each `batch` of them, and let nothing pass before it is on disk.

    `batch` may be asked for when the first new vector is there: before that no model is loaded.
    """
    held: list[Embedded | Skipped] = []
    new: dict[bytes, NDArray[np.float32]] = {}
    most = 0

    def write() -> None:
        if new:
            store.add(list(new), np.stack(list(new.values())))
            new.clear()

    try:
        for record in records:
            held.append(record)
            if isinstance(record, Embedded) and not record.stored and store.find([record.sha256])[0] is None:
                new.setdefault(record.sha256, record.vector)
            if new:
                most = max(batch if isinstance(batch, int) else batch(), store.fewest)
            if not new or len(new) >= most or len(held) >= _HELD * most:
                write()
                yield from held
                held.clear()
    finally:
        # Also when the consumer stops or the source fails: what was computed is never computed again.
        write()
    yield from held
