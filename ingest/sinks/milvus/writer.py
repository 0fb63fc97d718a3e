"""Upserts rows in batches that the server takes: bounded by rows and bytes, never one id twice in a call."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.contract import IMAGE_SHA256, PRIMARY_KEY, ROW_DIGEST, row_digest
from ingest.records import Embedded
from ingest.sinks.milvus.connection import WRITE_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ingest.records import Skipped
    from ingest.sinks.milvus.collection import Collection

MAX_ROWS = 1000
MAX_BYTES = 32 * 2**20
"""Half of the 64 MB that Milvus' gRPC server takes in one message, since a row's text is estimated."""


def upsert(records: Iterable[Embedded | Skipped], collection: Collection) -> Iterator[Embedded | Skipped]:
    """Write each `Embedded` and yield it when the server has acknowledged it; a `Skipped` passes by at once."""
    batch: dict[str, Embedded] = {}
    size = 0
    for record in records:
        if not isinstance(record, Embedded):
            yield record
            continue
        row_size = row_bytes(record)
        # One id twice in a call leaves a phantom row on some servers (milvus-io/milvus #44320).
        full = len(batch) == MAX_ROWS or size + row_size > MAX_BYTES
        if batch and (full or record.product.product_id in batch):
            yield from _send(batch, collection)
            batch, size = {}, 0
        batch[record.product.product_id] = record
        size += row_size
    if batch:
        yield from _send(batch, collection)


def row(record: Embedded, collection: Collection) -> dict[str, Any]:
    """Return a record as a row of the collection."""
    return {
        **record.product.metadata,
        PRIMARY_KEY: record.product.product_id,
        collection.contract.index.field: record.vector,
        ROW_DIGEST: row_digest(record.product, record.sha256, collection.space.fingerprint),
        IMAGE_SHA256: record.sha256.hex(),
    }


def identities(records: Sequence[Embedded], collection: Collection) -> tuple[list[str], list[str], list[str]]:
    """Return the records' product ids, row digests and pictures' SHA-256, as they stand in the collection."""
    fingerprint = collection.space.fingerprint
    return (
        [record.product.product_id for record in records],
        [row_digest(record.product, record.sha256, fingerprint) for record in records],
        [record.sha256.hex() for record in records],
    )


def _send(batch: dict[str, Embedded], collection: Collection) -> Iterator[Embedded]:
    rows = [row(record, collection) for record in batch.values()]
    connection = collection.connection
    if connection.is_lite and collection.contract.keeps_others:
        # Milvus Lite's upsert keeps dynamic fields that the new row lacks (seen with 3.2.2); a server replaces the row.
        collection.delete(list(batch))
    # pymilvus would wait out a limited rate by itself, 75 times over and without a word.
    connection.call(
        "upsert", connection.client.upsert, collection.name, rows,
        timeout=WRITE_TIMEOUT_S, retry_on_rate_limit=False,
    )  # fmt: skip
    yield from batch.values()


def row_bytes(record: Embedded) -> int:
    """Estimate what a row takes in a message."""
    text = sum(len(str(key)) + 4 * len(str(value)) for key, value in record.product.metadata.items())
    return record.vector.nbytes + text + 256
