"""Reads back what a collection holds: an inventory of its rows, and the vectors that the store lacks."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.milvus.served import ServedCollection
from ingest.runtime import parallel
from ingest.sync.inventory import SHA256_BYTES, Inventory, from_hex
from ingest.sync.served import ServedRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.milvus.collection import Collection
    from ingest.store.base import EmbeddingStore

_REFILL_ROWS = 1000


class Rows(Protocol):
    """The rows of a collection: of `Collection`, or of `ServedCollection`."""

    def rows(self) -> Iterator[list[dict[str, str]]]:
        """Yield all rows' product_id, row_digest and image_sha256, thousands at a time."""

    def vectors(self, product_ids: Sequence[str]) -> Iterator[tuple[bytes, NDArray[np.float32]]]:
        """Yield (image's SHA-256, vector) of those products that have a row."""


def inventory(collection: Rows, store: EmbeddingStore | None) -> Inventory:
    """Return the inventory of a collection; vectors that the collection has and the store lacks go into the store.

    `store` is None if the vectors are of another embedding space.
    """
    found = Inventory()
    missing: list[str] = []
    # The server reads the next rows while these are packed.
    with closing(parallel.prefetch(collection.rows(), 1)) as batches:
        for rows in batches:
            ids, digests, shas = ([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256))
            found.add(ids, digests, shas)
            if store is not None:
                missing += _missing(ids, digests, shas, store)
    for batch in parallel.batched(missing, _REFILL_ROWS):
        vectors = dict(collection.vectors(batch))
        if vectors and store is not None:
            store.add(list(vectors), np.stack(list(vectors.values())))
    found.distrust_duplicates()
    return found


def read_served(
    collection: Collection, target: str | None, there: Inventory, store: EmbeddingStore
) -> ServedRows | None:
    """Return what apps find through the alias, which points to `target`; None if that is nothing.

    If it is the collection itself, its rows are `there`. If it is another one of the same embedding space, vectors that
    the store lacks go into the store, so that they need not be embedded again; that collection must be loaded.
    """
    if target is None:
        return None
    found = ServedCollection(collection.connection, target)
    if target == collection.name:
        return ServedRows(there, found.high_water)
    same_space = found.fingerprint == collection.space.fingerprint
    return ServedRows(inventory(found, store if same_space else None), found.high_water)


def _missing(ids: Sequence[str], digests: Sequence[str], shas: Sequence[str], store: EmbeddingStore) -> Iterator[str]:
    """Yield the ids of the rows that ingest wrote and whose vectors the store lacks."""
    images, is_valid = from_hex(shas, SHA256_BYTES)
    has_digest = np.fromiter(map(bool, digests), bool, len(digests))
    ours = np.flatnonzero(is_valid & has_digest).tolist()
    held = store.holds([images[at].tobytes() for at in ours])
    yield from (ids[at] for at, is_held in zip(ours, held, strict=True) if not is_held)
