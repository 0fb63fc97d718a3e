"""Reads back what a collection holds: an inventory of its rows."""

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


class Rows(Protocol):
    """The rows of a collection: of `Collection`, or of `ServedCollection`."""

    def rows(self) -> Iterator[list[dict[str, str]]]:
        """Yield all rows' product_id, row_digest and image_sha256, thousands at a time."""


def read_inventory(collection: Rows, store: EmbeddingStore | None = None) -> Inventory:
    """Return the inventory of a collection, with the places of the rows whose vectors the `store` lacks."""
    found = Inventory()
    unstored = []
    # The server reads the next rows while these are packed.
    with closing(parallel.prefetch(collection.rows(), 1)) as batches:
        for rows in batches:
            ids, digests, shas = ([row[name] for row in rows] for name in (PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256))
            if store is not None:
                unstored.append(len(found) + _unstored(digests, shas, store))
            found.add(ids, digests, shas)
    found.unstored = np.concatenate(unstored) if unstored else found.unstored
    found.distrust_duplicates()
    return found


def read_served(collection: Collection, target: str | None, inventory: Inventory) -> ServedRows | None:
    """Return what apps find through the alias, which points to `target`; None if that is nothing.

    If it is the collection itself, its rows are `inventory`; if it is another one, that must be loaded.
    """
    if target is None:
        return None
    found = ServedCollection(collection.connection, target)
    return ServedRows(inventory if target == collection.name else read_inventory(found), found.high_water)


def _unstored(digests: Sequence[str], shas: Sequence[str], store: EmbeddingStore) -> NDArray[np.int64]:
    """Return which of these rows ingest wrote and the store lacks the vector of."""
    images, is_valid = from_hex(shas, SHA256_BYTES)
    has_digest = np.fromiter(map(bool, digests), bool, len(digests))
    ours = np.flatnonzero(is_valid & has_digest)
    held = np.array(store.holds([images[at].tobytes() for at in ours.tolist()]), bool)
    unstored: NDArray[np.int64] = ours[~held]
    return unstored
