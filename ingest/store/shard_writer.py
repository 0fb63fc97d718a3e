"""Writes new vectors as shards on a thread of its own, so that the model does not wait for each fsync or upload.

Meanwhile nobody can look up vectors: the model goes on with the images that were looked up before.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Self

import numpy as np

from ingest.core.records import Embedded

if TYPE_CHECKING:
    from collections.abc import Callable

    from ingest.core.records import Skipped
    from ingest.store.base import EmbeddingStore

ROWS = 2048
"""Vectors that make a shard at once."""
SECONDS = 1.0
"""How long a vector waits for others to be written with it: a kill makes a run compute again what waits."""
_WAITING = 2  # shards' worth of vectors that may wait; whoever puts more waits for the disk
_RECORDS = 8  # times as many records of any kind may wait, so that stored vectors do not pile up behind new ones


class ShardWriter:
    """Records on their way past the store: each comes out, in order, when the vectors before it are on disk.

    A shard is written when `rows` new vectors have come, `ROWS` by default, or after `seconds` if the store takes
    shards as small. What is left is written when the block of the context manager ends, however it ends. For one thread
    that puts; an error of the store is raised there. The writing happens inside the context `at_work`.
    """

    def __init__(
        self,
        store: EmbeddingStore,
        rows: int = 0,
        seconds: float = SECONDS,
        at_work: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self._store = store
        self._rows = max(rows or ROWS, store.min_shard_rows)
        self._seconds = seconds
        self._at_work = at_work
        self._waiting: deque[Embedded | Skipped] = deque()
        self._new = 0  # vectors to write among those that wait
        self._since = 0.0  # when the first of these came
        self._written: list[Embedded | Skipped] = []
        self._inside = 0  # records put in and not taken out; of the thread that puts
        self._has_ended = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._finish()
        if kind is None:
            self._raise()

    @property
    def is_empty(self) -> bool:
        """Whether all that was put in has been taken out."""
        return self._inside == 0

    def put(self, record: Embedded | Skipped) -> None:
        """Have a record wait for its vector and those before it; blocks while there is no room."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._write_all, name="shards", daemon=True)
            self._thread.start()
        with self._changed:
            while self._is_full() and self._error is None:
                self._changed.wait()
            self._raise()
            self._waiting.append(record)
            self._inside += 1
            if is_new(record):
                self._new += 1
                if self._new == 1:
                    self._since = time.monotonic()
                    self._changed.notify_all()
            if self._is_due():
                self._changed.notify_all()

    def take(self) -> list[Embedded | Skipped]:
        """Return the next records whose vectors are on disk; there may be none yet."""
        if not self._written and self._error is None:
            return []
        with self._changed:
            self._raise()
            taken, self._written = self._written, []
            self._inside -= len(taken)
        return taken

    def take_rest(self) -> list[Embedded | Skipped]:
        """Write what waits, and return all records that are left; nothing can be put in afterwards."""
        self._finish()
        return self.take()

    def _finish(self) -> None:
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _is_full(self) -> bool:
        return self._new >= _WAITING * self._rows or len(self._waiting) >= _RECORDS * self._rows

    def _is_due(self) -> bool:
        """Whether enough waits to be written at once, or records wait for nothing."""
        waits_for_nothing = bool(self._waiting) and not self._new
        return waits_for_nothing or self._new >= self._rows or self._is_full() or self._has_ended

    def _write_all(self) -> None:
        try:
            while group := self._next_group():
                with self._at_work():
                    self._write(group)
                with self._changed:
                    self._written += group
                    self._changed.notify_all()
        except BaseException as error:  # noqa: BLE001  raised again where records are put and taken
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _next_group(self) -> list[Embedded | Skipped]:
        """Wait until a shard is due; return its records, none at the end."""
        with self._changed:
            while not self._is_due():
                left = None
                if self._new >= self._store.min_shard_rows:
                    left = self._since + self._seconds - time.monotonic()
                    if left <= 0:
                        break
                self._changed.wait(left)
            return self._pop_group()

    def _pop_group(self) -> list[Embedded | Skipped]:
        group, new = [], 0
        while self._waiting and new < self._rows:
            group.append(self._waiting.popleft())
            new += is_new(group[-1])
        self._new -= new
        self._since = time.monotonic()
        self._changed.notify_all()  # there is room
        return group

    def _write(self, group: list[Embedded | Skipped]) -> None:
        """Write the group's new vectors, but for those that came by another product meanwhile."""
        new = {record.sha256: record.vector for record in group if isinstance(record, Embedded) and not record.stored}
        stored = self._store.find(list(new)) if new else []
        missing = [key for key, vector in zip(new, stored, strict=True) if vector is None]
        if missing:
            self._store.add(missing, np.stack([new[key] for key in missing]))


def is_new(record: Embedded | Skipped) -> bool:
    """Whether a record has a vector that the store lacks."""
    return isinstance(record, Embedded) and not record.stored
