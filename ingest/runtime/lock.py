"""Locks: one run at a time on a data folder, one command at a time on a Milvus Lite file.

A command that changes nothing does not create or write a lock file; it locks the one that a run left, and shares that
lock with others that change nothing.
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
    """Lock the data folder while the block runs; the system frees the lock when the process ends in any way.

    Raises BusyError, naming the process, if another one holds it.
    """
    with storage_errors(data):
        data.mkdir(parents=True, exist_ok=True)
    with _lock(data / ".lock", f"{data}: another run", "wait for it, or pass another --data"):
        yield


@contextmanager
def lock_folder_shared(data: Path) -> Iterator[None]:
    """Keep runs off the data folder while the block reads it; a folder that no run has used is not locked."""
    with _lock_shared(data / ".lock", f"{data}: another run", "wait for it, or pass another --data"):
        yield


@contextmanager
def lock_file(path: Path) -> Iterator[None]:
    """Lock a Milvus Lite file, which data folders may share, as `lock_folder` does, by a file beside it."""
    with _lock(_lock_path(path), f"{path}: another command", "wait for it"):
        yield


@contextmanager
def lock_file_shared(path: Path) -> Iterator[None]:
    """Keep other commands off an existing Milvus Lite file, as `lock_folder_shared` does."""
    with _lock_shared(_lock_path(path), f"{path}: another command", "wait for it"):
        yield


def _lock_path(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


@contextmanager
def _lock(path: Path, holder: str, fix: str) -> Iterator[None]:
    pid_file = _pid_file(path)
    with storage_errors(path.parent):
        lock = _acquire(path, holder, fix)
        pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        yield
    finally:
        with suppress(OSError):
            pid_file.unlink()  # whoever only reads has written none
        lock.release()


@contextmanager
def _lock_shared(path: Path, holder: str, fix: str) -> Iterator[None]:
    with ExitStack() as stack:
        if path.exists():
            with suppress(OSError):  # without the right to read it, no lock can be taken
                _acquire_shared(stack, path, holder, fix)
        yield


def _acquire_shared(stack: ExitStack, path: Path, holder: str, fix: str) -> None:
    """Lock until the stack ends, together with others that only read; raises BusyError."""
    if os.name == "nt":  # no shared locks
        stack.callback(_acquire(path, holder, fix).release)
        return
    import fcntl

    file = stack.enter_context(path.open("rb"))
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise _busy(path, holder, fix) from error


def _acquire(path: Path, holder: str, fix: str) -> BaseFileLock:
    from filelock import FileLock, Timeout

    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        if _is_only_read(path):
            place = holder.rpartition(": ")[0]
            raise BusyError(
                f"{place}: a command that reads it, such as ingest serve, has it open; end it first"
            ) from error
        raise _busy(path, holder, fix) from error
    return lock


def _busy(path: Path, holder: str, fix: str) -> BusyError:
    return BusyError(f"{holder} (process {_read_pid(_pid_file(path))}) holds it; {fix}")


def _is_only_read(path: Path) -> bool:
    """Return whether those that hold a lock share it."""
    try:
        with ExitStack() as stack:
            _acquire_shared(stack, path, "", "")
    except (BusyError, OSError):
        return False
    return os.name != "nt"


def _pid_file(path: Path) -> Path:
    return path.with_name(f"{path.name}.pid")


def _read_pid(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip() or "unknown"
    except OSError:
        return "unknown"
