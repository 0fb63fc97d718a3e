"""Upserts rows in batches that the server takes: bounded by rows and bytes, some at a time, never one id in two."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from ingest.core.contract import row_digests
from ingest.core.records import Embedded
from ingest.milvus import protobuf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future

    from ingest.core.records import ImageFile, Product, Skipped
    from ingest.milvus.collection import Collection

_IN_FLIGHT = 2
_IN_FLIGHT_LITE = 1
"""Milvus Lite (3.2.2) has no lock around its log: two first writes open its file twice, and one is lost to it."""
MAX_ROWS = 1000
MAX_BYTES = 32 * 2**20
"""Half of the 64 MB that Milvus' gRPC server takes in one message, since a row's text is estimated."""


def upsert(records: Iterable[Embedded | Skipped], collection: Collection) -> Iterator[Embedded | Skipped]:
    """Write each `Embedded` and yield it when the server has acknowledged it; a `Skipped` passes by at once.

    Two calls are under way at a time: one batch is packed while the server works on the other; to Milvus Lite one.
    Batches come out in order. A consumer that stops, or a call that fails, waits for the other.
    """
    flights: deque[_Flight] = deque()
    most = _IN_FLIGHT_LITE if collection.connection.is_lite else _IN_FLIGHT
    with ThreadPoolExecutor(most, thread_name_prefix="upsert") as pool:
        for batch in _batches(records):
            if isinstance(batch, dict):
                # No id in two calls at once: which of them came last would be left to chance.
                while flights and (len(flights) == most or any(batch.keys() & other.batch for other in flights)):
                    yield from flights.popleft().landed()
                flights.append(_Flight(batch, pool.submit(_send, batch, collection)))
            elif batch is not None:
                yield batch
            while flights and flights[0].sent.done():
                yield from flights.popleft().landed()
        while flights:
            yield from flights.popleft().landed()


class _Flight(NamedTuple):
    """A batch on its way: by its ids, and the call that sends it."""

    batch: dict[str, Embedded]
    sent: Future[None]

    def landed(self) -> Iterable[Embedded]:
        """Return the records when they are acknowledged."""
        self.sent.result()
        return self.batch.values()


def _batches(records: Iterable[Embedded | Skipped]) -> Iterator[dict[str, Embedded] | Skipped | None]:
    """Yield batches that a call may hold, each `Skipped` as it comes, and None where a batch goes on filling."""
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
            yield batch
            batch, size = {}, 0
        else:
            yield None
        batch[record.product.product_id] = record
        size += row_size
    if batch:
        yield batch


def identities(
    records: Sequence[Embedded | ImageFile], collection: Collection
) -> tuple[list[str], list[str], list[str]]:
    """Return the records' product ids, row digests and pictures' SHA-256, as they stand in the collection."""
    shas = [record.sha256 for record in records]
    digests = row_digests([record.product.metadata for record in records], shas, collection.space.fingerprint)
    return (
        [record.product.product_id for record in records],
        [digest.hex() for digest in digests],
        [record.sha256.hex() for record in records],
    )


def _send(batch: dict[str, Embedded], collection: Collection) -> None:
    records = list(batch.values())
    connection = collection.connection
    if connection.is_lite and collection.contract.keeps_others:
        # Milvus Lite's upsert keeps dynamic fields that the new row lacks (seen with 3.2.2); a server replaces the row.
        collection.delete(list(batch))
    _, digests, _ = identities(records, collection)
    request = protobuf.request(collection.name, records, digests, collection.contract)
    connection.call(f"upsert into {collection.name}", connection.upsert, request)


def row_bytes(record: Embedded) -> int:
    """Estimate what a row takes in a message."""
    return record.vector.nbytes + text_bytes(record.product)


def text_bytes(product: Product) -> int:
    """Estimate what a row without its vector takes in a message."""
    return 256 + sum(len(str(key)) + 4 * len(str(value)) for key, value in product.metadata.items())
