"""Where the files of the cache were downloaded from, recorded before a file gets its name.

The index lags behind the disk and may be deleted. This record does neither: a file whose name and bytes are in it was
downloaded from the URL with that key, and any other was put there by hand. Each process appends to a file of its own,
`sources.<process>.bin`, in records of 48 bytes; old ones are merged into `sources.bin`.
"""

from __future__ import annotations

import errno
import hashlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING

from ingest.runtime.atomic_files import atomic_write, storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from ingest.runtime.hash_index import HashIndex

_MERGED = "sources.bin"
_ID, _KEY = 16, 32  # bytes: of a file's name and content, and of its URL's key
_MOST_FILES = 16
_MOST_BYTES = 2**20  # in files that are not merged yet, besides as many as are
_SETTLED_S = 3600.0  # a worker of a killed run may still append to a younger file


class Sources:
    """The record of one folder, for any number of threads of one process. Every method raises StorageError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._file: int | None = None
        self._size = 0
        self._known: tuple[HashIndex, NDArray[np.uint8]] | None = None

    def add(self, name: str, sha256: bytes, key: bytes) -> None:
        """Record that the file `name` with these bytes is from the URL with this key.

        A kill of the process loses nothing that was added. A power cut may lose the last seconds, because an fsync for
        each record would take milliseconds.
        """
        with storage_errors(self._folder), self._lock:
            self._append(_identify(name, sha256) + key)

    def find(self, name: str, sha256: bytes) -> bytes | None:
        """Return the key of the URL that the file `name` with these bytes is from, None if it was not downloaded.

        What this process has added itself is not known here: the index has it.
        """
        from ingest.runtime.hash_index import pack_keys

        with self._lock:
            if self._known is None:
                with storage_errors(self._folder):
                    self._known = _load(self._paths())
            index, keys = self._known
            row = int(index.find(pack_keys([_identify(name, sha256)], _ID))[0])
        return None if row < 0 else keys[row].tobytes()

    def tidy(self, recorded: Iterable[tuple[str, bytes, bytes]]) -> None:
        """Merge the files of earlier processes if there are many. For the one process that has locked the folder.

        A folder without a record is from an earlier version: it gets one of the files that its index has `recorded`, as
        names, SHA-256 and keys.
        """
        with storage_errors(self._folder):
            paths = self._paths()
            if not paths:
                content = b"".join(_identify(name, sha256) + key for name, sha256, key in recorded)
                if content:
                    self._write(content)
                return
            sizes = {path: path.stat().st_size for path in paths}
            merged = self._folder / _MERGED
            rest = sum(sizes.values()) - sizes.get(merged, 0)
            if len(paths) <= _MOST_FILES and rest <= sizes.get(merged, 0) + _MOST_BYTES:
                return
            settled = [path for path in paths if path == merged or time.time() - path.stat().st_mtime > _SETTLED_S]
            index, keys = _load(settled)
            ordered = index.sorted_keys()
            import numpy as np

            self._write(np.hstack([ordered.keys, keys[ordered.rows]]).tobytes())
            for path in settled:
                if path != merged:
                    path.unlink()

    def close(self) -> None:
        """Fsync and close this process's file; a second call does nothing."""
        with storage_errors(self._folder), self._lock:
            if self._file is not None:
                os.fsync(self._file)
                os.close(self._file)
                self._file = None

    def _write(self, content: bytes) -> None:
        with atomic_write(self._folder / _MERGED) as file:
            file.write(content)

    def _paths(self) -> list[Path]:
        """Return the files of the record, the oldest first: of two keys of a file the last counts."""
        return sorted(self._folder.glob("sources*.bin"), key=lambda path: path.stat().st_mtime_ns)

    def _open(self) -> int:
        if self._file is None:
            path = self._folder / f"sources.{uuid.getnode():x}-{os.getpid()}.bin"
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0), 0o666)
            # An earlier process with this number may have been stopped within a record by a full disk.
            size = os.fstat(self._file).st_size
            self._size = size - size % (_ID + _KEY)
            os.ftruncate(self._file, self._size)
        return self._file

    def _append(self, record: bytes) -> None:
        """Append a record, whole or not at all."""
        file = self._open()
        if os.write(file, record) != len(record):
            os.ftruncate(file, self._size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size += len(record)


def _identify(name: str, sha256: bytes) -> bytes:
    return hashlib.sha256(name.encode() + b"\0" + sha256).digest()[:_ID]


def _load(paths: Iterable[Path]) -> tuple[HashIndex, NDArray[np.uint8]]:
    """Return the rows of all files' identities, and the keys, (rows, 32) uint8; a record that was cut off is none."""
    import numpy as np

    from ingest.runtime.hash_index import HashIndex

    size = _ID + _KEY
    parts = [np.fromfile(path, np.uint8) for path in paths]
    records = np.concatenate([np.empty(0, np.uint8), *(part[: len(part) - len(part) % size] for part in parts)])
    table = records.reshape(-1, size)
    index = HashIndex(_ID)
    index.put(np.ascontiguousarray(table[:, :_ID]), np.arange(len(table)))
    return index, table[:, _ID:]
