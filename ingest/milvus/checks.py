"""Verifies a collection: every row and digest, sampled vectors bit for bit, that searches find them, and the index.

Each function yields a `Mismatch` for each thing that is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.records import Mismatch
from ingest.runtime.hash_index import ABSENT
from ingest.runtime.parallel import batched
from ingest.sync.inventory import SHA256_BYTES, Inventory, from_hex
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Collection as States
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ingest.milvus.collection import Collection
    from ingest.store.base import EmbeddingStore

_SEARCH_BATCH = 200  # vectors read, and searched for, in one call
_ID_BATCH = 1000  # rows asked for by their ids at once
_COMPARE_BATCH = 2048  # rows compared at once: with 1,000 vectors of dim 1,024 some 20 MB
CLOSE_ENOUGH = 1e-5  # inner products of equal unit vectors differ by this much at most, whatever sums them up
CROWDED = 1e-3
"""1 - cosine of nearly equal vectors: float32 and bfloat16 vectors of one image differ by 1e-4 at most, so two that
were rounded apart, at twice the angle, differ by 4e-4."""
WIDE_EF = 512  # wide, so that a miss means that the index lacks the row, not that the search gave up early


def rows(
    collection: Collection, before: Inventory, written: Inventory, deleted: States[RowState]
) -> Iterator[Mismatch]:
    """Compare all rows with what a run leaves: unchanged ones of the inventory `before`, and those `written`.

    Rows of `before` with a state in `deleted` must be gone; any other row may exist or not. An iterator over a
    collection may leave rows out (milvus-io/milvus #52055): those are asked for by their ids.
    """
    unchanged = before.states == RowState.SAME
    seen_before, seen_written = np.zeros(len(before), bool), np.zeros(len(written), bool)
    for batch in collection.rows():
        ids = [row[PRIMARY_KEY] for row in batch]
        places = zip(written.find(ids).tolist(), before.find(ids).tolist(), strict=True)
        for row, (new, old) in zip(batch, places, strict=True):
            if new != ABSENT:
                seen_written[new] = True
                digest = written.digest(new)
            elif old != ABSENT and unchanged[old]:
                seen_before[old] = True
                digest = before.digest(old)
            else:
                if old != ABSENT and before.states[old] in deleted:
                    yield Mismatch("row", row[PRIMARY_KEY], "was deleted and still exists")
                continue
            if row[ROW_DIGEST] != digest:
                yield Mismatch("row", row[PRIMARY_KEY], f"has digest {row[ROW_DIGEST]}, not {digest}")
    for inventory, missing in ((written, ~seen_written), (before, unchanged & ~seen_before)):
        for product_ids in batched(inventory.where(missing), _ID_BATCH):
            at = inventory.find(product_ids).tolist()
            yield from absent(collection, dict(zip(product_ids, map(inventory.digest, at), strict=True)))


def absent(collection: Collection, digests: Mapping[str, str]) -> Iterator[Mismatch]:
    """Look up the rows of these products by their ids, and compare their digests."""
    found = collection.digests(list(digests)) if digests else {}
    for product_id, digest in digests.items():
        if product_id not in found:
            yield Mismatch("row", product_id, "is missing")
        elif found[product_id] != digest:
            yield Mismatch("row", product_id, f"has digest {found[product_id]}, not {digest}")


def index(collection: Collection) -> Iterator[Mismatch]:
    """Check that the index is the contract's and holds every flushed row; Milvus Lite needs none."""
    if not collection.is_indexed:
        return
    description = collection.index()
    if description is None:
        yield Mismatch("index", collection.name, "is missing")
        return
    for fault in collection.index_faults(description):
        yield Mismatch("index", collection.name, fault)
    pending, state = int(description.get("pending_index_rows", 0)), str(description.get("state", "Finished"))
    if pending or state != "Finished":
        yield Mismatch("index", collection.name, f"is {state} with {pending} rows pending; wait, or flush")


def vectors(collection: Collection, store: EmbeddingStore, product_ids: Sequence[str]) -> Iterator[Mismatch]:
    """Compare these products' vectors with the store's bit for bit, and check that a search finds each, or one as near.

    Equal vectors have equal scores, so any of them may come first: the best score must reach the product's own. If it
    does not, the index has lost the product, or the product is in a crowd: HNSW links a new row to its M nearest rows,
    and if more than M are equally near, they may all link only to one another, so that no search gets there (seen with
    250 equal vectors in Milvus Lite). Since no repair changes that, a crowd is no mismatch.
    """
    field = collection.contract.index.field
    not_found: list[tuple[str, NDArray[np.float32]]] = []
    for batch in batched(product_ids, _SEARCH_BATCH):
        found = collection.find(batch, [PRIMARY_KEY, IMAGE_SHA256, field])
        shas, _ = from_hex([row[IMAGE_SHA256] for row in found], SHA256_BYTES)
        stored = store.find(list(map(bytes, shas)))
        own: list[NDArray[np.float32]] = [np.asarray(row[field], np.float32) for row in found]
        for row, vector, known in zip(found, own, stored, strict=True):
            if known is None:
                yield Mismatch("vector", row[PRIMARY_KEY], "is not in the store")
            elif vector.tobytes() != known.astype(np.float32).tobytes():
                yield Mismatch("vector", row[PRIMARY_KEY], "differs from the store's")
        answers = collection.search(own, 1, WIDE_EF) if own else []
        for row, vector, hits in zip(found, own, answers, strict=True):
            if not reaches(vector, hits):
                not_found.append((row[PRIMARY_KEY], vector))
    for (product_id, _), crowd in zip(not_found, _count_near(collection, store, not_found), strict=True):
        if crowd <= collection.contract.index.m:
            yield Mismatch("search", product_id, "is not found by its own vector, and nothing as near is")


def reaches(vector: NDArray[np.float32], hits: Sequence[Any]) -> bool:
    """Return whether a search for a vector, (dim,) float32, found one as near to it as it is to itself."""
    own = float(np.dot(vector.astype(np.float64), vector))
    return bool(hits) and float(hits[0]["distance"]) >= own - CLOSE_ENOUGH


def _count_near(
    collection: Collection, store: EmbeddingStore, products: Sequence[tuple[str, NDArray[np.float32]]]
) -> list[int]:
    """Count for each (product id, vector) how many other rows of the collection are nearly equal; compares all rows."""
    if not products:
        return []
    # Equal vectors are compared once.
    queries, which = np.unique(np.stack([vector for _, vector in products]), axis=0, return_inverse=True)
    counts = np.zeros(len(queries), np.int64)
    for rows_ in collection.rows():
        shas, is_valid = from_hex([row[IMAGE_SHA256] for row in rows_], SHA256_BYTES)
        for block in batched(map(bytes, shas[is_valid]), _COMPARE_BATCH):
            _, known = store.take(block)
            counts += (known @ queries.T >= 1 - CROWDED).sum(axis=0)
    near: list[int] = (counts[which.ravel()] - 1).tolist()  # without itself
    return near
