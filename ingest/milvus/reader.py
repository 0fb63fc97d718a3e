"""Reads back what a collection holds: an inventory of its rows, and the vectors that the store lacks."""

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
    """Return the inventory of a collection; vectors that the collection has and the store lacks go into the store."""
    found = Inventory()
    missing: list[str] = []
    # The server reads the next rows while these are packed.
    with closing(parallel.prefetch(collection.rows(), 1)) as batches:
        for rows in batches:
            ids, digests, shas = ([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256))
            found.add(ids, digests, shas)
            images, is_valid = from_hex(shas, SHA256_BYTES)
            has_digest = np.fromiter(map(bool, digests), bool, len(digests))
            ours = np.flatnonzero(is_valid & has_digest).tolist()  # rows that ingest wrote
            held = store.holds([images[at].tobytes() for at in ours])
            missing.extend(ids[at] for at, is_held in zip(ours, held, strict=True) if not is_held)
    for batch in parallel.batched(missing, _REFILL_ROWS):
        vectors = dict(collection.vectors(batch))
        if vectors:
            store.add(list(vectors), np.stack(list(vectors.values())))
    found.distrust_duplicates()
    return found
