"""Reads back what a collection holds: its rows, packed, and the vectors that the store lacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest import flow
from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.inventory import Inventory

if TYPE_CHECKING:
    from ingest.sinks.milvus.collection import Collection
    from ingest.store.vectors import Vectors

_REFILL_ROWS = 1000


def inventory(collection: Collection, store: Vectors) -> Inventory:
    """Return the rows of a collection, and take over the vectors that the collection has and the store lacks."""
    there = Inventory()
    missing: list[str] = []
    for rows in collection.rows():
        there.add(*([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256)))
        ours = [row for row in rows if _is_ours(row)]
        held = store.holds([bytes.fromhex(row[IMAGE_SHA256]) for row in ours])
        missing.extend(row[PRIMARY_KEY] for row, known in zip(ours, held, strict=True) if not known)
    for batch in flow.batched(missing, _REFILL_ROWS):
        vectors = dict(collection.vectors(batch))
        if vectors:
            store.add(list(vectors), np.stack(list(vectors.values())))
    return there


def _is_ours(row: dict[str, str]) -> bool:
    try:
        return len(bytes.fromhex(row[IMAGE_SHA256])) == 32 and bool(row[ROW_DIGEST])
    except ValueError:
        return False
