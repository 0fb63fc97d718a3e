"""One run at a time on one data folder, and one command at a time on one Milvus Lite file."""

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
    with writing_to(data):
        data.mkdir(parents=True, exist_ok=True)
    with _locked(data / ".lock", f"{data}: another run", "wait for it, or pass another --data"):
        yield


@contextmanager
def holding_file(path: Path) -> Iterator[None]:
    """Hold a Milvus Lite file, which data folders may share, by a lock beside it; as `holding`."""
    with _locked(path.with_name(f".{path.name}.lock"), f"{path}: another command", "wait for it"):
        yield


@contextmanager
def _locked(path: Path, whose: str, way_out: str) -> Iterator[None]:
    from filelock import FileLock, Timeout

    holder = path.with_name(f"{path.name}.pid")
    with writing_to(path.parent):
        lock = FileLock(path, timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise BusyError(f"{whose} (process {_holder(holder)}) holds it; {way_out}") from error
        holder.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        lock.release()


def _holder(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
