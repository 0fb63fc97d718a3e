"""A look-ahead that spills to disk: embedding goes on while Milvus is away, and memory stays bounded.

What is spilt is the product and its picture's key, a line of JSON each; the vector is in the store already and is
read from there.
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
_PATIENCE_S = 1.0  # a batch is upserted within that; who takes longer waits for a server
_POLL_S = 0.2


def spill(
    records: Iterable[Embedded | Skipped], store: EmbeddingStore, memory: int, folder: Path
) -> Generator[Embedded | Skipped, None, None]:
    """Run `records`, whose vectors `store` has, on a thread of its own, in order, as far ahead as they go.

    At most `memory` of them wait in memory and the others in an unnamed file in `folder`. A producer's exception
    surfaces at the consumer, after what came before it; a consumer that stops frees the producer.
    """
    queue = _Queue(store, memory, folder)
    thread = threading.Thread(target=queue.fill, args=(records,), name="overflow", daemon=True)
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
    """First in, first out; once the file has something in it, all that comes goes there too."""

    def __init__(self, store: EmbeddingStore, memory: int, folder: Path) -> None:
        self.gone = threading.Event()
        self.failure: BaseException | None = None
        self._store = store
        self._memory = memory
        self._folder = folder
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  as long as we live
        self._waiting: deque[Embedded | Skipped] = deque()
        self._spilt = self._read_at = self._written_to = 0
        self._ended = False
        self._taken = time.monotonic()
        self._changed = threading.Condition()

    def fill(self, records: Iterable[Embedded | Skipped]) -> None:
        """Put all records in; what goes wrong is kept for the consumer."""
        try:
            for record in records:
                if self.gone.is_set():
                    break
                with self._changed:
                    # Spilling costs time that a consumer at work should have: it is for one that is held up.
                    while self._full() and time.monotonic() - self._taken < _PATIENCE_S and not self.gone.is_set():
                        self._changed.wait(_POLL_S)
                    self._put(record)
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  it is raised again where the consumer stands
            self.failure = error
        finally:
            # A generator must be closed by the thread that runs it, so that its own clean-up happens now.
            close = getattr(records, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def take(self) -> list[Embedded | Skipped] | None:
        """Return what is there, waiting until something is; None at the end."""
        with self._changed:
            while not self._waiting and not self._spilt:
                if self._ended:
                    return None
                self._changed.wait()
            self._taken = time.monotonic()
            self._changed.notify_all()
            if self._waiting:
                batch = list(self._waiting)
                self._waiting.clear()
                return batch
            content = [self._read() for _ in range(min(self._spilt, _READ_AT_ONCE))]
        return self._restored(content)

    def close(self) -> None:
        """Give the disk space back; what a full disk has kept from being written is not wanted any more."""
        with suppress(OSError):
            self._file.close()

    def _full(self) -> bool:
        return self._spilt > 0 or len(self._waiting) >= self._memory

    def _put(self, record: Embedded | Skipped) -> None:
        if not self._full():
            self._waiting.append(record)
            return
        line = _line(record)
        with storage_errors(self._folder):
            self._file.seek(self._written_to)
            self._file.write(line)
        self._written_to += len(line)
        self._spilt += 1

    def _read(self) -> Skipped | tuple[Product, bytes]:
        self._file.seek(self._read_at)
        line = self._file.readline()
        self._read_at += len(line)
        self._spilt -= 1
        if not self._spilt:
            self._file.truncate(0)
            self._read_at = self._written_to = 0
        return _record(line)

    def _restored(self, content: list[Skipped | tuple[Product, bytes]]) -> list[Embedded | Skipped]:
        vectors = iter(self._store.find([bare[1] for bare in content if not isinstance(bare, Skipped)]))
        return [bare if isinstance(bare, Skipped) else _embedded(bare[0], bare[1], next(vectors)) for bare in content]


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
        detail = "its stored vector was damaged while the run went on; run again"
        return product.skipped(Stage.STORE, Reason.BAD_VECTOR, detail)
    return Embedded(product, sha256, vector)
