"""Reads back what a collection holds: its rows, packed, and the vectors that the store lacks."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.runtime import parallel
from ingest.sync.inventory import SHA256_BYTES, Inventory, from_hex

if TYPE_CHECKING:
    from ingest.milvus.collection import Collection
    from ingest.store.base import EmbeddingStore

_REFILL_ROWS = 1000


def inventory(collection: Collection, store: EmbeddingStore) -> Inventory:
    """Return the rows of a collection, and take over the vectors that the collection has and the store lacks."""
    there = Inventory()
    missing: list[str] = []
    # The server looks for the next rows while these are packed.
    with closing(parallel.prefetch(collection.rows(), 1)) as batches:
        for rows in batches:
            ids, digests, shas = ([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256))
            there.add(ids, digests, shas)
            pictures, sound = from_hex(shas, SHA256_BYTES)
            digested = np.fromiter(map(bool, digests), bool, len(digests))
            ours = np.flatnonzero(sound & digested).tolist()  # rows that ingest wrote
            held = store.holds([pictures[at].tobytes() for at in ours])
            missing.extend(ids[at] for at, known in zip(ours, held, strict=True) if not known)
    for batch in parallel.batched(missing, _REFILL_ROWS):
        vectors = dict(collection.vectors(batch))
        if vectors:
            store.add(list(vectors), np.stack(list(vectors.values())))
    there.distrust_duplicates()
    return there
