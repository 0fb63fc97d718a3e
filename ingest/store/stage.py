"""The store's pipeline stages: stored vectors bypass the model, and new ones are on disk before they go on."""

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

_LOOKED_UP, _LOOKED_UP_S = 256, 0.05  # images looked up together, and how long the first of them may wait
_HELD = 32  # batches of records that may wait for one vector to be written; it bounds memory


def lookup(
    records: Iterable[ImageFile | Skipped],
    store: EmbeddingStore,
    open_trash: Callable[[], EmbeddingStore] | None = None,
) -> Iterator[ImageFile | Embedded | Skipped]:
    """Turn each image whose vector is stored into an `Embedded`, in order; images are looked up in batches.

    A vector that is only in the trash counts as new, so that `append` writes it into the store again.
    """
    for group in batched_within(records, _LOOKED_UP, _LOOKED_UP_S):
        keys = [record.sha256 for record in group if isinstance(record, ImageFile)]
        found = dict(zip(keys, store.find(keys), strict=True))
        missing = [key for key, vector in found.items() if vector is None]
        dropped = dict(zip(missing, open_trash().find(missing), strict=True)) if missing and open_trash else {}
        for record in group:
            vector = None
            if isinstance(record, ImageFile):
                vector, stored = found[record.sha256], True
                if vector is None:
                    vector, stored = dropped.get(record.sha256), False
            if isinstance(record, ImageFile) and vector is not None:
                yield Embedded(record.product, record.sha256, vector, stored=stored)
            else:
                yield record


def append(
    records: Iterable[Embedded | Skipped], store: EmbeddingStore, batch: int | Callable[[], int]
) -> Iterator[Embedded | Skipped]:
    """Write each `batch` of new vectors as a shard, and yield no vector before it is on disk.

    `batch` may be a function; it is called after the first new vector, because no model is loaded before.
    """
    waiting: list[Embedded | Skipped] = []
    new: dict[bytes, NDArray[np.float32]] = {}
    most = 0

    def write() -> None:
        if not new:
            return
        # Looked up together; an image whose vector came by another product meanwhile is not written twice.
        missing = [key for key, stored in zip(new, store.find(list(new)), strict=True) if stored is None]
        if missing:
            store.add(missing, np.stack([new[key] for key in missing]))
        new.clear()

    try:
        for record in records:
            waiting.append(record)
            if isinstance(record, Embedded) and not record.stored:
                new.setdefault(record.sha256, record.vector)
            if new and not most:
                most = max(batch if isinstance(batch, int) else batch(), store.min_shard_rows)
            if not new or len(new) >= most or len(waiting) >= _HELD * most:
                write()
                yield from waiting
                waiting.clear()
    finally:
        # Also when the consumer stops or the source fails, so that no vector is computed twice.
        write()
    yield from waiting
