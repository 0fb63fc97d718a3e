"""Copies of a bucket's shards on this machine's disk.

A copy of vectors ends with a SHA-256 over the version of the object that it was made from and over its bytes. So a copy
that is damaged, cut off, or of an object that was put again since is recognised, and downloaded again.
"""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.atomic_files import atomic_write_unswept, storage_errors, sweep
from ingest.runtime.npy import header

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.store.bucket import StoredObject

MIRROR_BYTES = 64 * 2**30
"""The mirror's size limit. The shards used longest ago are removed first, and downloaded again when they are needed."""

_SEAL_BYTES = 32


class Mirror:
    """The folder of the copies; it may be deleted at any time. Raises StorageError if it cannot be written."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._checked: dict[str, str] = {}  # the version for which a copy was found to be right
        with storage_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            sweep(folder)

    def keys(self, shard: str) -> bytes:
        """Return the copy of a shard's `keys.npy`, which the caller checks; empty if there is none."""
        try:
            return self._path(shard, "keys").read_bytes()
        except OSError:
            return b""

    def put_keys(self, shard: str, content: bytes) -> None:
        """Keep a copy of a shard's `keys.npy`."""
        with atomic_write_unswept(self._path(shard, "keys")) as file:
            file.write(content)

    def vectors(self, shard: str, about: StoredObject) -> NDArray[np.float32] | None:
        """Map the copy of a shard's vectors, (n, dim) float32; None if there is none of this version, or a damaged one.

        Raises ValueError, EOFError or SyntaxError if the object itself is no array of float32.
        """
        path = self._path(shard, "embeddings")
        if self._checked.get(shard) != about.version or _size(path) != about.size + _SEAL_BYTES:
            if not _is_sealed(path, about):
                return None
            self._checked[shard] = about.version
        with path.open("rb") as file:
            shape, dtype, offset = header(file, about.size)
        if len(shape) != 2 or dtype != np.float32:
            raise ValueError(f"{dtype} of shape {shape}")
        with suppress(OSError):  # a link of a command that changes nothing, on a system that has no times of links
            os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
        return np.memmap(path, np.float32, "r", offset, (shape[0], shape[1]))

    def put_vectors(self, shard: str, about: StoredObject, content: bytes) -> None:
        """Keep a copy of a shard's `embeddings.npy`, the object `about`; older copies make room for it."""
        self._checked.pop(shard, None)
        with storage_errors(self._folder):
            self._make_room(len(content))
        with atomic_write_unswept(self._path(shard, "embeddings")) as file:
            file.write(content)
            file.write(_seal(about, content))
        self._checked[shard] = about.version

    def _make_room(self, size: int) -> None:
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._folder.glob("*.embeddings"))
        excess = sum(bytes_ for _, bytes_, _ in files) + size + _SEAL_BYTES - MIRROR_BYTES
        for _, bytes_, path in files:
            if excess <= 0:
                break
            with suppress(OSError):  # Windows keeps mapped files
                path.unlink()
            excess -= bytes_

    def _path(self, shard: str, kind: str) -> Path:
        return self._folder / f"{shard}.{kind}"


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _is_sealed(path: Path, about: StoredObject) -> bool:
    try:
        content = path.read_bytes()
    except OSError:
        return False
    body = memoryview(content)[:-_SEAL_BYTES]
    return len(body) == about.size and _seal(about, body) == content[-_SEAL_BYTES:]


def _seal(about: StoredObject, content: bytes | memoryview) -> bytes:
    digest = hashlib.sha256(about.version.encode() + b"\n")
    digest.update(content)
    return digest.digest()
