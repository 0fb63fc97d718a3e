"""Upserts rows in batches that the server takes: bounded by rows and bytes, a few calls at a time.

No id is in two calls at once.
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from ingest.core.digest import row_digests
from ingest.core.records import Embedded
from ingest.milvus import protobuf

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future

    from ingest.core.records import ImageFile, Product, Skipped
    from ingest.milvus.collection import Collection

_CALLS = 2
_CALLS_LITE = 1
"""Milvus Lite (3.2.2) has no lock around its log: two first writes open its file twice, and one of them is lost."""
MAX_ROWS = 1000
MAX_BYTES = 32 * 2**20
"""Half of the 64 MB that Milvus' gRPC server takes in one message, because a row's text is only estimated."""


def upsert(records: Iterable[Embedded | Skipped], collection: Collection) -> Iterator[Embedded | Skipped]:
    """Write each `Embedded` and yield it when the server has acknowledged it; a `Skipped` is yielded at once.

    Two calls are under way at a time, so that one batch is packed while the server works on the other; with Milvus
    Lite only one. Batches come out in order. If the consumer stops or a call fails, the other call is waited for.
    """
    limit = _CALLS_LITE if collection.connection.is_lite else _CALLS
    with ThreadPoolExecutor(limit, thread_name_prefix="upsert") as pool:
        calls = _Calls(pool, limit, collection)
        batch = _Batch()
        for record in records:
            if isinstance(record, Embedded):
                size = row_bytes(record)
                if not batch.has_room(record, size):
                    yield from calls.send(batch.rows)
                    batch = _Batch()
                batch.add(record, size)
            else:
                yield record
            yield from calls.take_acknowledged()
        if batch.rows:
            yield from calls.send(batch.rows)
        yield from calls.wait_for_all()


@dataclass(slots=True)
class _Batch:
    """Rows for one call, by id, and their bytes."""

    rows: dict[str, Embedded] = field(default_factory=dict)
    size: int = 0

    def has_room(self, record: Embedded, size: int) -> bool:
        """Return whether a row of so many bytes may go into this call; into an empty one any may."""
        if not self.rows:
            return True
        is_full = len(self.rows) == MAX_ROWS or self.size + size > MAX_BYTES
        # One id twice in a call leaves a phantom row on some servers (milvus-io/milvus #44320).
        return not is_full and record.product.product_id not in self.rows

    def add(self, record: Embedded, size: int) -> None:
        self.rows[record.product.product_id] = record
        self.size += size


class _Call(NamedTuple):
    """A call under way: its rows by id, and what the server will answer."""

    rows: dict[str, Embedded]
    answer: Future[None]


class _Calls:
    """The calls under way, oldest first: at most `limit`."""

    def __init__(self, pool: Executor, limit: int, collection: Collection) -> None:
        self._pool = pool
        self._limit = limit
        self._collection = collection
        self._calls: deque[_Call] = deque()

    def send(self, rows: dict[str, Embedded]) -> Iterator[Embedded]:
        """Send a batch, after the calls that are in its way; yield the rows of those."""
        # No id in two calls at once: which of them came last would be left to chance.
        while len(self._calls) == self._limit or any(rows.keys() & call.rows.keys() for call in self._calls):
            yield from self._wait_for_oldest()
        self._calls.append(_Call(rows, self._pool.submit(_send, rows, self._collection)))

    def take_acknowledged(self) -> Iterator[Embedded]:
        """Yield the rows that the server has acknowledged by now, in order."""
        while self._calls and self._calls[0].answer.done():
            yield from self._wait_for_oldest()

    def wait_for_all(self) -> Iterator[Embedded]:
        """Yield the rows of all calls as the server acknowledges them."""
        while self._calls:
            yield from self._wait_for_oldest()

    def _wait_for_oldest(self) -> Iterable[Embedded]:
        call = self._calls.popleft()
        call.answer.result()
        return call.rows.values()


def identities(
    records: Sequence[Embedded | ImageFile], collection: Collection
) -> tuple[list[str], list[str], list[str]]:
    """Return the records' product ids, row digests and images' SHA-256 in hex, as the collection holds them."""
    shas = [record.sha256 for record in records]
    digests = row_digests([record.product.metadata for record in records], shas, collection.space.fingerprint)
    return (
        [record.product.product_id for record in records],
        [digest.hex() for digest in digests],
        [record.sha256.hex() for record in records],
    )


def _send(rows: dict[str, Embedded], collection: Collection) -> None:
    records = list(rows.values())
    _, digests, _ = identities(records, collection)
    write(records, digests, collection)


def write(records: Sequence[Embedded], digests: Sequence[str], collection: Collection) -> None:
    """Write rows with these row digests in one call; no id may occur twice, and the rows must fit into a message."""
    connection = collection.connection
    if connection.is_lite and collection.contract.keeps_others:
        # Milvus Lite's upsert keeps dynamic fields that the new row lacks (seen with 3.2.2); a server replaces the row.
        collection.delete([record.product.product_id for record in records])
    request = protobuf.request(collection.name, records, digests, collection.contract)
    connection.call(f"upsert into {collection.name}", connection.upsert, request)


def row_bytes(record: Embedded) -> int:
    """Estimate a row's bytes in a message."""
    return record.vector.nbytes + text_bytes(record.product)


def text_bytes(product: Product) -> int:
    """Estimate the bytes in a message of a row without its vector."""
    return 256 + sum(len(str(key)) + 4 * len(str(value)) for key, value in product.metadata.items())
