"""Vectors that the store lacks although the rows of their images are up to date: read back, or embedded again.

A row proves what it holds only by its digest, which covers the image, the embedding space and the metadata. So a vector
is read back only if the row's digest and image are those of today's catalog: any app may have written the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.core.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST
from ingest.core.digest import row_digest
from ingest.core.records import Embedded, Stage
from ingest.milvus import writer
from ingest.runtime.parallel import batched
from ingest.store import maintenance
from ingest.store.base import are_unit_rows
from ingest.sync.row_state import RowState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from ingest.milvus.collection import Collection
    from ingest.pipeline.pipeline import Pipeline
    from ingest.sync.diff import CollectionDiff
    from ingest.sync.inventory import Inventory

_READ_ROWS = 1000  # vectors read in one request


def refill(pipeline: Pipeline, collection: Collection, difference: CollectionDiff) -> int:
    """Give the store the vectors that it lacks of rows which are up to date; return how many rows were written again.

    Call it after a pass over the catalog, which has judged the rows. An interrupted run leaves the rest to the next.
    """
    if pipeline.stop.is_set():
        return 0
    with pipeline.progress.clock.working(Stage.MILVUS):
        rest = read_back(pipeline, collection, difference)
    return write_again(pipeline, collection, difference, rest)


def read_back(pipeline: Pipeline, collection: Collection, difference: CollectionDiff) -> list[str]:
    """Fill the store from the rows whose vectors it lacked, after a pass over the catalog has judged them.

    Returns the products of which that is impossible: the row's vector is damaged, or the store has another one by now,
    of the same image. Rows of products that fail today are used if their metadata is today's.
    """
    inventory, rest = difference.inventory, list[str]()
    unstored = np.zeros(len(inventory), bool)
    unstored[inventory.unstored] = True
    same = unstored & (inventory.states == RowState.SAME)
    for product_ids in batched(inventory.where(same), _READ_ROWS):
        rest += _fill(pipeline, collection, inventory, product_ids)
    failing = set(inventory.where(unstored & (inventory.states == RowState.FAILED)))
    for product_ids in batched(_unchanged(pipeline, inventory, failing), _READ_ROWS):
        _fill(pipeline, collection, inventory, product_ids)
    inventory.unstored = np.empty(0, np.int64)
    return rest


def write_again(
    pipeline: Pipeline, collection: Collection, difference: CollectionDiff, product_ids: Sequence[str]
) -> int:
    """Embed products again whose image has no sound vector, and upsert their rows; return how many."""
    if not product_ids:
        return 0
    difference.distrust(product_ids)
    embedded = pipeline.embed(pipeline.images_of(frozenset(product_ids)))
    written = 0
    for record in pipeline.report.keep_skipped(difference.failures(writer.upsert(embedded, collection))):
        assert isinstance(record, Embedded)
        product_id = record.product.product_id
        pipeline.report.add_change(product_id, difference.kind(product_id))
        written += 1
    return written


def forget(pipeline: Pipeline, inventory: Inventory, product_ids: Sequence[str]) -> None:
    """Remove the vectors of these rows' images, which are wrong, from the store; all rows with them are distrusted."""
    places = inventory.find(product_ids)
    images = sorted({inventory.sha256(place) for place in places[places >= 0].tolist()})
    if images:
        for store in (pipeline.store, pipeline.open_trash()):
            maintenance.forget(store, images)
        inventory.distrust(inventory.places_of(images))


def _unchanged(pipeline: Pipeline, inventory: Inventory, product_ids: set[str]) -> Iterator[str]:
    """Yield those of these products whose row has today's metadata, and the image that it says."""
    fingerprint = pipeline.space.fingerprint
    for product in pipeline.products_of(product_ids) if product_ids else ():
        place = int(inventory.find([product.product_id])[0])
        if inventory.digest(place) == row_digest(product, inventory.sha256(place), fingerprint):
            yield product.product_id


def _fill(pipeline: Pipeline, collection: Collection, inventory: Inventory, product_ids: Sequence[str]) -> list[str]:
    """Add the vectors of these rows to the store; return the products of which that is impossible."""
    store, field = pipeline.store, collection.contract.index.field
    names = [PRIMARY_KEY, ROW_DIGEST, IMAGE_SHA256, field]
    rows = {row[PRIMARY_KEY]: row for row in collection.find(product_ids, names)}
    places = inventory.find(product_ids).tolist()
    keys = [inventory.sha256(place) for place in places]
    new: dict[bytes, NDArray[np.float32]] = {}
    rest = []
    for product_id, place, key, stored in zip(product_ids, places, keys, store.find(keys), strict=True):
        vector = _vector(rows.get(product_id), inventory.digest(place), key, field, store.dim)
        known = new.get(key) if stored is None else stored
        if vector is None or (known is not None and known.tobytes() != vector.tobytes()):
            rest.append(product_id)
        elif known is None:
            new[key] = vector
    if new:
        store.add(list(new), np.stack(list(new.values())))
    return rest


def _vector(row: dict[str, Any] | None, digest: str, image: bytes, field: str, dim: int) -> NDArray[np.float32] | None:
    """Return a row's vector, (dim,) float32, if it is a unit vector and the row is still the one that was judged."""
    if row is None or (row[ROW_DIGEST], row[IMAGE_SHA256]) != (digest, image.hex()):
        return None
    vector = np.asarray(row[field], np.float32)
    return vector if vector.shape == (dim,) and are_unit_rows(vector[None]).all() else None
