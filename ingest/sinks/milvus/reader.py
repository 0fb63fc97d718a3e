"""Reads back what a collection holds: its rows, packed, and the vectors that the store lacks."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import numpy as np

from ingest import flow
from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.inventory import SHA256_BYTES, Inventory

if TYPE_CHECKING:
    from ingest.sinks.milvus.collection import Collection
    from ingest.store.vectors import Vectors

_REFILL_ROWS = 1000


def inventory(collection: Collection, store: Vectors) -> Inventory:
    """Return the rows of a collection, and take over the vectors that the collection has and the store lacks."""
    there = Inventory()
    missing: list[str] = []
    # The server looks for the next rows while these are packed.
    with closing(flow.ahead(collection.rows(), 1)) as batches:
        for rows in batches:
            there.add(*([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256)))
            ours = [(row[PRIMARY_KEY], sha) for row in rows if (sha := _picture(row)) is not None]
            held = store.holds([sha for _, sha in ours])
            missing.extend(product_id for (product_id, _), known in zip(ours, held, strict=True) if not known)
    for batch in flow.batched(missing, _REFILL_ROWS):
        vectors = dict(collection.vectors(batch))
        if vectors:
            store.add(list(vectors), np.stack(list(vectors.values())))
    there.settle_doubled()
    return there


def _picture(row: dict[str, str]) -> bytes | None:
    """Return the SHA-256 of the picture of a row that ingest wrote, None of any other row."""
    try:
        sha = bytes.fromhex(row[IMAGE_SHA256])
    except ValueError:
        return None
    return sha if len(sha) == SHA256_BYTES and row[ROW_DIGEST] else None
