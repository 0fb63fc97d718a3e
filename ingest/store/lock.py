"""One run at a time on one data folder."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ingest.durable import writing_to
from ingest.errors import BusyError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def holding(data: Path) -> Iterator[None]:
    """Hold the data folder while the block runs; the system frees it with the process, however that ends.

    Raises BusyError naming the other process where one holds it.
    """
    from filelock import FileLock, Timeout

    holder = data / ".lock.pid"
    with writing_to(data):
        data.mkdir(parents=True, exist_ok=True)
        lock = FileLock(data / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            pid = (holder.read_text(encoding="ascii").strip() if holder.is_file() else "") or "unknown"
            raise BusyError(
                f"{data}: another run (process {pid}) holds it; wait for it, or pass another --data"
            ) from error
        holder.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        lock.release()
