"""Proves a collection: every row and digest, sampled vectors bit for bit, that each finds itself, and its index.

Each function yields `Differing`, what is not as it should be; nothing where all is well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.flow import batched
from ingest.inventory import ABSENT, Fate, Inventory, key

if TYPE_CHECKING:
    from collections.abc import Collection as Fates
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.sinks.milvus.collection import Collection
    from ingest.store.vectors import Vectors

_AT_ONCE = 200  # vectors read, and searched for, in one call
_NEAR = 10  # hits looked at: products that share a picture are equally near
CLOSE_ENOUGH = 1e-5  # inner products of equal unit vectors differ by this much at most, whatever sums them up
WIDE_EF = 512  # wide, so that a miss means a row that the index lacks, and not a search that gave up early


@dataclass(frozen=True, slots=True)
class Differing:
    """One thing that is not as it should be: what kind, of which product (or which thing), and how."""

    kind: str
    name: str
    detail: str


def rows(collection: Collection, there: Inventory, written: Inventory, deleted: Fates[Fate]) -> Iterator[Differing]:
    """Compare all rows with what a run leaves: those of `there` that were right, and those it has `written`.

    Rows of `there` with a fate in `deleted` must be gone; what else there may be is none of its business.
    """
    right = there.fates == Fate.SAME
    seen_there, seen_written = np.zeros(len(there), bool), np.zeros(len(written), bool)
    for batch in collection.rows():
        keys = [key(row[PRIMARY_KEY]) for row in batch]
        places = zip(written.find(keys).tolist(), there.find(keys).tolist(), strict=True)
        for row, (new, old) in zip(batch, places, strict=True):
            if new != ABSENT:
                seen_written[new] = True
                digest = written.digest(new)
            elif old != ABSENT and right[old]:
                seen_there[old] = True
                digest = there.digest(old)
            else:
                if old != ABSENT and there.fates[old] in deleted:
                    yield Differing("row", row[PRIMARY_KEY], "was deleted and is there")
                continue
            if row[ROW_DIGEST] != digest:
                yield Differing("row", row[PRIMARY_KEY], f"has digest {row[ROW_DIGEST]}, not {digest}")
    for inventory, missing in ((written, ~seen_written), (there, right & ~seen_there)):
        for product_id in inventory.where(missing):
            yield Differing("row", product_id, "is missing")


def index(collection: Collection) -> Iterator[Differing]:
    """Check that the index is the contract's, and that every flushed row is in it; Milvus Lite needs none."""
    if not collection.is_indexed:
        return
    description = collection.index()
    if description is None:
        yield Differing("index", collection.name, "there is none")
        return
    for fault in collection.index_faults(description):
        yield Differing("index", collection.name, fault)
    pending, state = int(description.get("pending_index_rows", 0)), str(description.get("state", "Finished"))
    if pending or state != "Finished":
        yield Differing("index", collection.name, f"is {state} with {pending} rows pending; wait, or flush")


def vectors(collection: Collection, store: Vectors, product_ids: Sequence[str]) -> Iterator[Differing]:
    """Compare these products' vectors with the store's bit for bit, and see that each finds itself first.

    Rows that share a picture with more others than HNSW links a row with need not: all their links may lead to each
    other, and then no search comes there (seen with 250 products of one picture in Milvus Lite).
    """
    field = collection.contract.index.field
    links = 2 * collection.contract.index.m  # of a row in the lowest layer: Malkov and Yashunin, 2018, M_max0
    for batch in batched(product_ids, _AT_ONCE):
        found = collection.matching(batch, [PRIMARY_KEY, IMAGE_SHA256, field])
        stored = store.find([bytes.fromhex(row[IMAGE_SHA256]) for row in found])
        own: list[NDArray[np.float32]] = [np.asarray(row[field], np.float32) for row in found]
        for row, vector, known in zip(found, own, stored, strict=True):
            if known is None:
                yield Differing("vector", row[PRIMARY_KEY], "is not in the store")
            elif vector.tobytes() != known.astype(np.float32).tobytes():
                yield Differing("vector", row[PRIMARY_KEY], "is not the store's")
        if own:
            answers = collection.search(own, _NEAR, WIDE_EF)
            for row, hits in zip(found, answers, strict=True):
                if not _finds_itself(row, hits) and collection.sharing(row[IMAGE_SHA256]) <= links:
                    first = hits[0].pk if hits else "nothing"
                    yield Differing("search", row[PRIMARY_KEY], f"does not find itself first but {first}")


def _finds_itself(row: dict[str, Any], hits: Sequence[Any]) -> bool:
    if not hits:
        return False
    if hits[0]["entity"].get(IMAGE_SHA256) == row[IMAGE_SHA256]:
        return True  # itself, or a product with the same picture
    best = float(hits[0]["distance"])
    return any(hit.pk == row[PRIMARY_KEY] and float(hit["distance"]) >= best - CLOSE_ENOUGH for hit in hits)
