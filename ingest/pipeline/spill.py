"""A buffer on disk, so that embedding continues while Milvus is unavailable and memory stays bounded.

A spilled record is a line of JSON with the product and its image's SHA-256; its vector is read back from the store.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from ingest.core.records import Embedded, Product, Reason, Skipped, Stage
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

    from ingest.store.base import EmbeddingStore

_READ_AT_ONCE = 256
_PATIENCE_S = 1.0  # enough to upsert a batch; a consumer that takes longer is waiting for the server
_POLL_S = 0.2


def spill(
    records: Iterable[Embedded | Skipped], store: EmbeddingStore, memory: int, folder: Path
) -> Generator[Embedded | Skipped, None, None]:
    """Read all of `records`, whose vectors are in `store`, on a separate thread; yield them in order.

    At most `memory` of them wait in memory, and the others in an unnamed file in `folder`. An exception of the producer
    is raised at the consumer after the records before it; if the consumer stops, so does the producer.
    """
    queue = _Queue(store, memory, folder)
    thread = threading.Thread(target=queue.fill, args=(records,), name="spill", daemon=True)
    thread.start()
    try:
        while (batch := queue.take()) is not None:
            yield from batch
        if queue.failure is not None:
            raise queue.failure
    finally:
        queue.gone.set()
        thread.join()
        queue.close()


class _Queue:
    """A FIFO queue in memory and on disk; while the file holds records, new ones go there too, to keep the order."""

    def __init__(self, store: EmbeddingStore, memory: int, folder: Path) -> None:
        self.gone = threading.Event()
        self.failure: BaseException | None = None
        self._store = store
        self._memory = memory
        self._folder = folder
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  closed by close()
        self._waiting: deque[Embedded | Skipped] = deque()
        self._spilled = self._read_at = self._written_to = 0
        self._ended = False
        self._taken = time.monotonic()
        self._changed = threading.Condition()

    def fill(self, records: Iterable[Embedded | Skipped]) -> None:
        """Put in all records; an exception is kept for the consumer."""
        try:
            for record in records:
                if self.gone.is_set():
                    break
                with self._changed:
                    # Spilling slows down a consumer that is working; it is meant for one that is blocked.
                    while self._full() and time.monotonic() - self._taken < _PATIENCE_S and not self.gone.is_set():
                        self._changed.wait(_POLL_S)
                    is_first = not self._waiting and not self._spilled
                    self._put(record)
                    if is_first:  # nobody waits for a second one, and to wake a thread takes longer than the rest
                        self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  raised again at the consumer
            self.failure = error
        finally:
            # The thread that runs a generator must close it, so that its clean-up happens now.
            close = getattr(records, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def take(self) -> list[Embedded | Skipped] | None:
        """Return the next records, waiting until there are some; None at the end."""
        with self._changed:
            while not self._waiting and not self._spilled:
                if self._ended:
                    return None
                self._changed.wait()
            self._taken = time.monotonic()
            self._changed.notify_all()
            if self._waiting:
                batch = list(self._waiting)
                self._waiting.clear()
                return batch
            content = [self._read() for _ in range(min(self._spilled, _READ_AT_ONCE))]
        return self._with_vectors(content)

    def close(self) -> None:
        """Free the disk space; data that a full disk kept in the write buffer is not needed any more."""
        with suppress(OSError):
            self._file.close()

    def _full(self) -> bool:
        return self._spilled > 0 or len(self._waiting) >= self._memory

    def _put(self, record: Embedded | Skipped) -> None:
        if not self._full():
            self._waiting.append(record)
            return
        line = _line(record)
        with storage_errors(self._folder):
            self._file.seek(self._written_to)
            self._file.write(line)
        self._written_to += len(line)
        self._spilled += 1

    def _read(self) -> Skipped | tuple[Product, bytes]:
        self._file.seek(self._read_at)
        line = self._file.readline()
        self._read_at += len(line)
        self._spilled -= 1
        if not self._spilled:
            self._file.truncate(0)
            self._read_at = self._written_to = 0
        return _record(line)

    def _with_vectors(self, content: list[Skipped | tuple[Product, bytes]]) -> list[Embedded | Skipped]:
        vectors = iter(self._store.find([record[1] for record in content if not isinstance(record, Skipped)]))
        return [record if isinstance(record, Skipped) else _embedded(*record, next(vectors)) for record in content]


def _line(record: Embedded | Skipped) -> bytes:
    if isinstance(record, Skipped):
        place = record.line, record.file
        why = record.stage, record.reason, record.detail
        content: list[Any] = [None, record.product_id, *why, *place, record.is_torn]
    else:
        product = record.product
        place = product.line, product.file
        content = [record.sha256.hex(), product.product_id, product.image, dict(product.metadata), *place]
    return json.dumps(content).encode() + b"\n"


def _record(line: bytes) -> Skipped | tuple[Product, bytes]:
    sha256, product_id, *rest = json.loads(line)
    if sha256 is None:
        stage, reason, *others = rest
        return Skipped(product_id, Stage(stage), Reason(reason), *others)
    return Product(product_id, *rest), bytes.fromhex(sha256)


def _embedded(product: Product, sha256: bytes, vector: Any) -> Embedded | Skipped:
    if vector is None:
        detail = "its stored vector was damaged during the run; run again"
        return product.skipped(Stage.STORE, Reason.BAD_VECTOR, detail)
    return Embedded(product, sha256, vector)
