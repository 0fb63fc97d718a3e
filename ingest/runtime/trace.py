"""A run as a trace for Chrome and https://ui.perfetto.dev: a row per thread of each part, written during the run.

The format is https://docs.google.com/document/d/1CvAClvFfyA5R-PhYUmn5OOQtYMH4h6I0nSsKchNAySU: an array of events, whose
last bracket may be missing, so the trace of a killed run can be opened.
"""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Self

from ingest.core.errors import ConfigError
from ingest.runtime.atomic_files import reason, storage_errors

if TYPE_CHECKING:
    from pathlib import Path

_JOINED_S = 50e-6
"""Unnamed work that continues after a shorter pause is drawn as one piece: a catalog's rows take 20 µs each."""
_SHORTEST_S = 100e-6
"""Shorter pieces are left out: they cannot be seen, and would make up most of the file."""
_ORDER = ("catalog", "images", "decode", "model load", "embedding", "store", "milvus", "exports")


class Trace:
    """Writes pieces of work into a file; a context manager, for any number of threads.

    Raises ConfigError if the file cannot be created, StorageError if the disk is full later.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._started = time.perf_counter()
        self._lock = threading.Lock()
        self._rows: dict[tuple[int, str], int] = {}
        self._held: dict[int, tuple[str, float, float]] = {}
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written ({reason(error)}); pass another file to --profile") from error
        first = {"name": "process_name", "ph": "M", "pid": os.getpid(), "tid": 0, "args": {"name": "ingest"}}
        with storage_errors(path):
            self._file.write("[\n" + json.dumps(first))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._lock, storage_errors(self._path), self._file:
            for row in list(self._held):
                self._draw(row)
            self._file.write("\n]\n")

    def add(self, thread: int, part: str, start: float, end: float, name: str = "") -> None:
        """Draw work of `thread` for `part` between two times of `time.perf_counter`; `name` is the product's id."""
        with self._lock, storage_errors(self._path):
            if self._file.closed:  # a thread still runs after an error
                return
            row = self._row(thread, part)
            if row in self._held:
                _, began, ended = self._held[row]
                if not name and start - ended < _JOINED_S:
                    start = began
                else:
                    self._draw(row)
            self._held[row] = (part, start, end)
            if name:
                self._draw(row, name)

    def _row(self, thread: int, part: str) -> int:
        """Return the number of a row; a new one is named after its part."""
        row = self._rows.get((thread, part))
        if row is None:
            row = self._rows[thread, part] = len(self._rows) + 1
            of_part = sum(other == part for _, other in self._rows)
            place = _ORDER.index(part) if part in _ORDER else len(_ORDER)
            self._write("thread_name", "M", row, args={"name": part if of_part == 1 else f"{part} {of_part}"})
            self._write("thread_sort_index", "M", row, args={"sort_index": 1000 * place + of_part})
        return row

    def _draw(self, row: int, name: str = "") -> None:
        part, start, end = self._held.pop(row)
        if end - start >= _SHORTEST_S:
            times = {"ts": round((start - self._started) * 1e6, 1), "dur": round((end - start) * 1e6, 1)}
            self._write(part, "X", row, **times, cat="stage", args={"product": name} if name else {})

    def _write(self, name: str, kind: str, row: int, **more: Any) -> None:
        event = {"name": name, "ph": kind, "pid": os.getpid(), "tid": row, **more}
        self._file.write(",\n" + json.dumps(event))
