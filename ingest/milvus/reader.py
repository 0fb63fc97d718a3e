"""Reads back what a collection holds: an inventory of its rows."""

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


def inventory(collection: Collection, store: EmbeddingStore) -> Inventory:
    """Return the inventory of a collection, with the places of the rows whose vectors the store lacks."""
    found = Inventory()
    unstored = []
    # The server reads the next rows while these are packed.
    with closing(parallel.prefetch(collection.rows(), 1)) as batches:
        for rows in batches:
            ids, digests, shas = ([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256))
            images, is_valid = from_hex(shas, SHA256_BYTES)
            has_digest = np.fromiter(map(bool, digests), bool, len(digests))
            ours = np.flatnonzero(is_valid & has_digest)  # rows that ingest wrote
            held = np.array(store.holds([images[at].tobytes() for at in ours.tolist()]), bool)
            unstored.append(len(found) + ours[~held])
            found.add(ids, digests, shas)
    found.unstored = np.concatenate(unstored) if unstored else found.unstored
    found.distrust_duplicates()
    return found
