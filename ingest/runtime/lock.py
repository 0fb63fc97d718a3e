"""One run at a time on one data folder, and one command at a time on one Milvus Lite file.

A command that changes nothing makes no lock file and writes none: it holds the one that a run left.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from ingest.core.errors import BusyError
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from filelock import BaseFileLock


@contextmanager
def lock_folder(data: Path) -> Iterator[None]:
    """Hold the data folder while the block runs; the system frees it with the process, however that ends.

    Raises BusyError naming the other process where one holds it.
    """
    with storage_errors(data):
        data.mkdir(parents=True, exist_ok=True)
    with _locked(data / ".lock", f"{data}: another run", "wait for it, or pass another --data"):
        yield


@contextmanager
def lock_folder_shared(data: Path) -> Iterator[None]:
    """Keep runs off the data folder while the block reads there; one where no run has been is not held."""
    with _read(data / ".lock", f"{data}: another run", "wait for it, or pass another --data"):
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Hold a Milvus Lite file, which data folders may share, by a lock beside it; as `lock_folder`."""
    with _locked(_beside(path), f"{path}: another command", "wait for it"):
        yield


@contextmanager
def lock_file_shared(path: Path) -> Iterator[None]:
    """Keep other commands off an existing Milvus Lite file; as `lock_folder_shared`."""
    with _read(_beside(path), f"{path}: another command", "wait for it"):
        yield


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def _locked(path: Path, whose: str, way_out: str) -> Iterator[None]:
    holder = _holder(path)
    with storage_errors(path.parent):
        lock = _acquired(path, whose, way_out)
        holder.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        with suppress(OSError):
            holder.unlink()  # who only reads does not write its own
        lock.release()


@contextmanager
def _read(path: Path, whose: str, way_out: str) -> Iterator[None]:
    with ExitStack() as stack:
        if path.exists():
            with suppress(OSError):  # a folder that may not be written is locked by nobody who may not either
                stack.callback(_acquired(path, whose, way_out).release)
        yield


def _acquired(path: Path, whose: str, way_out: str) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise BusyError(f"{whose} (process {_named(_holder(path))}) holds it; {way_out}") from error
    return lock


def _holder(path: Path) -> Path:
    return path.with_name(f"{path.name}.pid")


def _named(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
