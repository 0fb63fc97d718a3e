"""One model's vectors on a disk: immutable shards, keyed by the SHA-256 of the images' bytes.

A shard is a folder with `embeddings.npy`, (n, dim) float32, and `keys.npy`, (n, 32) uint8. It is built under a
temporary name, fsynced and renamed, so a killed run leaves whole shards and at most one `.<number>.tmp`. The next
writer removes that, and shards that cannot be read. A single writer numbers its shards; many processes at once write
shards named `block-…` (`concurrent_shards`). If both have a key, the numbered shard counts.

No file stays open. A row is read from a file opened for that read, which takes 10 µs; mapping a file takes 50 to 130 µs
and a descriptor.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from io import FileIO
from tokenize import TokenError
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingest.core.errors import StorageError
from ingest.runtime.atomic_files import reason, storage_errors, sync_folder
from ingest.runtime.hash_index import pack_keys
from ingest.runtime.npy import header
from ingest.store import shard_folders
from ingest.store.base import KEY_BYTES, Shard, are_unit_rows, check_rows, check_shape, select_rows, to_list
from ingest.store.key_index import KeyIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.store.shared_index import SharedKeyIndex


log = logging.getLogger(__name__)

FULL_SHARD_ROWS = 8192
"""A shard with at least this many rows is never merged."""
MERGE_AT = 32
"""When there are this many smaller shards, they are merged: each batch of a run writes one, and folders must not pile
up."""

_MISSHAPEN = ValueError("its shape or type is not the store's")
_TRIES = 10  # while others merge: each of their shards can vanish once between a listing and a read
_DAMAGED = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, EOFError, SyntaxError, TokenError)


class _Shard(NamedTuple):
    """The rows of a shard's `embeddings.npy`, and the byte at which they begin."""

    rows: int
    offset: int


class LocalStore:
    """The vectors of one embedding space in `folder`. One writer at a time; any number of readers."""

    min_shard_rows = 1

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._lock = threading.Lock()
        self._swept = False
        self._open()

    @property
    def rows(self) -> int:
        """Rows in all shards; a key that was written twice counts twice."""
        with self._lock:
            return sum(shard.rows for shard in self._shards.values())

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None, as `EmbeddingStore` says."""
        return to_list(*self.take(keys))

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, and those vectors, as `EmbeddingStore` says.

        Raises StorageError if a shard cannot be opened although it is not damaged.
        """
        with self._lock:
            for _ in range(_TRIES):
                try:
                    return self._take(keys)
                except FileNotFoundError:  # another process has merged the shard
                    self._open()
        raise StorageError(
            f"{self.folder}: shards were removed as fast as they were read; let other commands that merge or drop "
            "shards end, then run again"
        )

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Return for each key whether it has a vector, without reading that."""
        with self._lock:
            return list(map(bool, self._index.contains(keys)))

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write one shard, as `EmbeddingStore` says; then merge small ones if there are many."""
        check_shape(keys, vectors, self.dim)
        with self._lock:
            self._write(pack_keys(keys, KEY_BYTES), [np.ascontiguousarray(vectors, np.float32)])
            small = [name for name, shard in self._shards.items() if shard.rows < FULL_SHARD_ROWS]
            if len(small) >= MERGE_AT:
                self._merge(small)

    def share_index(self) -> SharedKeyIndex:
        """Return which shard has each vector, for processes that cannot open the store."""
        with self._lock:
            return self._index.share()

    def adopt(self, shards: Mapping[str, NDArray[np.uint8]]) -> None:
        """Add shards that other processes have written, as `EmbeddingStore` says."""
        with self._lock:
            self._drop_damaged()
            found = {
                name: keys
                for name, keys in shards.items()
                if name not in self._shards and self._measure(name, len(keys))
            }
            self._index.put_all(found)

    def sweep(self) -> None:
        """Remove half-built and half-removed shards, as `EmbeddingStore` says."""
        with self._lock:
            shard_folders.sweep(self.folder)

    def shards(self) -> list[Shard]:
        """List the sound shards, the oldest first."""
        row_bytes = 4 * self.dim + KEY_BYTES
        with self._lock, storage_errors(self.folder):
            found = [
                Shard(name, shard.rows, shard.rows * row_bytes, (self.folder / name / "keys.npy").stat().st_mtime)
                for name, shard in self._shards.items()
            ]
        return sorted(found, key=lambda shard: shard.modified)

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Merge shards into one, of the rows whose keys `keep` accepts, as `EmbeddingStore` says."""
        with self._lock:
            self._merge([name for name in self._shards if name in names], keep)
            self._open()  # the index has no way to forget the keys that were not kept

    def _open(self) -> None:
        self._index = KeyIndex()
        self._shards: dict[str, _Shard] = {}
        self._damaged: list[Path] = []
        for name in shard_folders.names(self.folder):
            self._load(name)
        for number in sorted(shard_folders.numbers(self.folder)):
            self._load(shard_folders.folder_name(number))

    def _take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        vectors = np.zeros((len(keys), self.dim), np.float32)
        for shard, positions, rows in self._index.locate(keys):
            self._read(shard, rows, positions, vectors)
        sound = are_unit_rows(vectors)
        return sound, vectors if sound.all() else vectors[sound]

    def _read(self, name: str, rows: NDArray[np.int64], to: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Read these rows of a shard into the rows `to` of `vectors`."""
        start, size, is_whole = self._shards[name].offset, 4 * self.dim, True
        try:
            with FileIO(f"{self.folder}/{name}/embeddings.npy") as file:  # making a Path takes as long as the read
                for row, at in zip(rows.tolist(), to.tolist(), strict=True):
                    file.seek(start + row * size)
                    is_whole = file.readinto(vectors[at]) == size and is_whole
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(self.folder / name / "embeddings.npy", error) from error
        if not is_whole:
            raise _unreadable(self.folder / name / "embeddings.npy", ValueError("it is cut off"))

    def _rows(self, name: str, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors = np.empty((len(rows), self.dim), np.float32)
        self._read(name, rows, np.arange(len(rows)), vectors)
        return vectors

    def _load(self, name: str) -> None:
        folder = self.folder / name
        try:
            with (folder / "keys.npy").open("rb") as file:
                (rows, *width), dtype, _ = header(file, os.fstat(file.fileno()).st_size)
                fits = width == [KEY_BYTES] and dtype == np.uint8
                keys = np.fromfile(file, np.uint8, rows * KEY_BYTES if fits else 0).reshape(-1, KEY_BYTES)
        except _DAMAGED as error:
            self._leave_out(folder, error)
            return
        except OSError as error:
            raise _unreadable(folder, error) from error
        if not fits:
            self._leave_out(folder, _MISSHAPEN)
        elif self._measure(name, rows):
            self._index.put(name, keys)

    def _measure(self, name: str, rows: int) -> bool:
        """Note where a shard's vectors begin; return whether it has `rows` of them."""
        folder = self.folder / name
        try:
            with (folder / "embeddings.npy").open("rb") as file:
                shape, dtype, offset = header(file, os.fstat(file.fileno()).st_size)
        except _DAMAGED as error:
            self._leave_out(folder, error)
            return False
        except OSError as error:
            raise _unreadable(folder, error) from error
        if shape != (rows, self.dim) or dtype != np.float32:
            self._leave_out(folder, _MISSHAPEN)
            return False
        self._shards[name] = _Shard(rows, offset)
        return True

    def _leave_out(self, folder: Path, error: Exception) -> None:
        why = reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
        log.warning(
            "%s: left out, it cannot be read (%s); its images are embedded again, and the next write removes it",
            folder,
            why,
        )
        self._damaged.append(folder)

    def _drop_damaged(self) -> None:
        while self._damaged:
            shard_folders.remove(self._damaged.pop())

    def _write(self, keys: NDArray[np.uint8], parts: Iterable[NDArray[np.float32]]) -> None:
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                shard_folders.sweep(self.folder)
                self._swept = True
            self._drop_damaged()
            name = shard_folders.folder_name(max([0, *shard_folders.numbers(self.folder)]) + 1)
            temporary = self.folder / f".{name}.tmp"
            try:
                temporary.mkdir()
                shard_folders.save(temporary / "embeddings.npy", (len(keys), self.dim), "<f4", parts)
                shard_folders.save(temporary / "keys.npy", keys.shape, "|u1", [keys])
                sync_folder(temporary)
                temporary.rename(self.folder / name)
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            sync_folder(self.folder)
        self._load(name)

    def _merge(self, names: list[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]] | None = None) -> None:
        """Write the rows of several shards as one, then remove them; after a kill in between both exist.

        Rows that are damaged, or whose key was soundly written again later, are dropped: in the new shard they would
        count before the others.
        """
        check_rows(sum(self._shards[name].rows for name in names))
        keys, kept, lost = {}, {}, False
        for name in names:
            with storage_errors(self.folder / name):
                keys[name] = np.load(self.folder / name / "keys.npy", allow_pickle=False)
            vectors = self._rows(name, np.arange(self._shards[name].rows))
            kept[name] = select_rows(keys[name], vectors, self._index.is_current(name, keys[name]), self._take)
            if damaged := int((~are_unit_rows(vectors)).sum()):
                log.warning("%s: %d vectors are damaged and left out", self.folder / name, damaged)
                lost = True
            if keep is not None:
                kept[name] &= keep(keys[name])
        if not names or (len(names) == 1 and kept[names[0]].all()):
            return
        together = np.concatenate([keys[name][kept[name]] for name in names])
        if len(together):
            # Shard by shard, so that no more vectors than one shard's are in memory.
            self._write(together, (self._rows(name, np.flatnonzero(kept[name])) for name in names))
        for name in names:
            del self._shards[name]
            shard_folders.remove(self.folder / name)
        if lost:
            self._open()  # the index has no way to forget their keys


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path}: cannot be read ({reason(error)}); fix that and run the same command again")
