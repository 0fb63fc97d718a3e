"""One model's vectors on disk: immutable shards, keyed by the SHA-256 of the pictures' bytes.

A shard is a folder `<number>/` with `embeddings.npy`, (n, dim) float32, and `keys.npy`, (n, 32) uint8. It is
built aside, fsynced, and appears by one rename or not at all, so a killed run leaves whole shards and at most
one `.<number>.tmp`. The next writer sweeps that away, and the shards that cannot be read. Many processes at once
write shards called `block-…` (`blocks`); where both have a key, the numbered one counts. Of each shard the number
and the rows alone are held: rows are read from its file, opened for the moment. To open and to read takes 10 µs, to map
a file 50 to 130 and a descriptor.
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
from ingest.runtime.npy import header
from ingest.store import shard_folders
from ingest.store.base import Shard
from ingest.store.key_index import ABSENT, KEY_BYTES, KeyIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.store.key_index import KeyArrays

log = logging.getLogger(__name__)

FULL_SHARD_ROWS = 8192
"""A shard of at least so many rows is never rewritten."""
MERGE_AT = 32
"""So many shards that are not full become one; each batch of a run leaves a shard, and folders must not pile up."""
UNIT_TOLERANCE = 1e-3
"""How far a stored vector's length may lie from 1 before it counts as damaged."""

_ROW_BITS = 24  # a place is shard number << 24 | row
_ROW = (1 << _ROW_BITS) - 1
_NAMED = 1 << 32  # from here on numbers stand for shards that have a name

_DAMAGED = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, EOFError, SyntaxError, TokenError)


class _Shard(NamedTuple):
    """What is held of a shard: how many rows its `embeddings.npy` has, and from which byte on."""

    rows: int
    offset: int


class LocalStore:
    """The vectors of one embedding space in `folder`. One writer at a time; any number of readers."""

    fewest = 1

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
        """Return each key's vector, (dim,) float32 of unit length, or None where there is none or it is damaged.

        Raises StorageError where a shard cannot be opened for a reason that is not its own.
        """
        sound, vectors = self.take(keys)
        rows = iter(vectors)
        return [next(rows) if there else None for there in sound.tolist()]

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, (n,) bool, and those vectors, (k, dim) float32, in the keys' order.

        Raises StorageError as `find` does.
        """
        with self._lock:
            try:
                return self._taken(keys)
            except FileNotFoundError:  # another process has merged what was there
                self._open()
                return self._taken(keys)

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether a vector is there, without reading it."""
        with self._lock:
            return [place != ABSENT for place in self._index.find(keys).tolist()]

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Write one shard of (n, dim) float32 unit rows; when this returns they survive a power cut.

        Raises StorageError where the disk is full or cannot be written; nothing is half-written then. Raises
        ValueError for vectors of another shape, which the next run would leave out.
        """
        packed = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
        if vectors.shape != (len(packed), self.dim):
            raise ValueError(f"{len(packed)} keys and vectors of shape {vectors.shape}; the store's dim is {self.dim}")
        with self._lock:
            self._write(packed, [np.ascontiguousarray(vectors, np.float32)])
            small = [number for number, shard in self._shards.items() if shard.rows < FULL_SHARD_ROWS]
            if len(small) >= MERGE_AT:
                self._merge(small)

    def known(self) -> KeyArrays:
        """Return which keys there are, for a process without the store."""
        with self._lock:
            return self._index.parts()

    def adopt(self, name: str) -> None:
        """Take note of a shard that another process has written since the store was opened."""
        with self._lock:
            self._drop_damaged()
            if name not in map(self._name, self._shards):
                self._adopt(name)

    def shards(self) -> list[Shard]:
        """List the shards that are sound, the oldest first."""
        with self._lock, storage_errors(self.folder):
            paths = [(self._path(number), shard.rows) for number, shard in self._shards.items()]
            row = 4 * self.dim + KEY_BYTES
            found = [Shard(path.name, rows, rows * row, (path / "keys.npy").stat().st_mtime) for path, rows in paths]
        return sorted(found, key=lambda shard: shard.modified)

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Make one shard of several, of the rows whose keys `keep` wants, as `EmbeddingStore` says."""
        with self._lock:
            self._merge([number for number in self._shards if self._path(number).name in names], keep)

    def _open(self) -> None:
        self._index = KeyIndex()
        self._shards: dict[int, _Shard] = {}
        self._names: dict[int, str] = {}
        self._damaged: list[Path] = []
        for name in shard_folders.names(self.folder):
            self._adopt(name)
        for number in sorted(shard_folders.numbers(self.folder)):
            self._load(number)

    def _adopt(self, name: str) -> None:
        number = _NAMED + len(self._names)
        self._names[number] = name
        self._load(number)

    def _taken(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        places = self._index.find(keys)
        sound = places != ABSENT
        places = places[sound]
        vectors = np.empty((len(places), self.dim), np.float32)
        order = np.argsort(places, kind="stable")  # shard by shard, so that each is opened once
        shards = places[order] >> _ROW_BITS
        for part in np.split(order, np.flatnonzero(np.diff(shards)) + 1) if len(order) else ():
            self._read(int(places[part[0]] >> _ROW_BITS), places[part] & _ROW, part, vectors)
        whole = np.abs(np.sqrt(np.einsum("ij,ij->i", vectors, vectors)) - 1.0) <= UNIT_TOLERANCE  # NaN is not
        sound[sound] = whole
        return sound, vectors if whole.all() else vectors[whole]

    def _read(self, number: int, rows: NDArray[np.int64], to: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Read these rows of a shard into these rows of `vectors`."""
        start, size, whole = self._shards[number].offset, 4 * self.dim, True
        try:
            with FileIO(f"{self.folder}/{self._name(number)}/embeddings.npy") as file:  # a Path takes as long
                for row, at in zip(rows.tolist(), to.tolist(), strict=True):
                    file.seek(start + row * size)
                    whole = file.readinto(vectors[at]) == size and whole
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(self._path(number) / "embeddings.npy", error) from error
        if not whole:
            raise _unreadable(self._path(number) / "embeddings.npy", ValueError("it is cut off"))

    def _rows(self, number: int, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        vectors = np.empty((len(rows), self.dim), np.float32)
        self._read(number, rows, np.arange(len(rows)), vectors)
        return vectors

    def _load(self, number: int) -> None:
        shard = self._path(number)
        try:
            with (shard / "keys.npy").open("rb") as file:
                (rows, *width), dtype, _ = header(file, os.fstat(file.fileno()).st_size)
                fits = width == [KEY_BYTES] and dtype == np.uint8
                keys = np.fromfile(file, np.uint8, rows * KEY_BYTES if fits else 0).reshape(-1, KEY_BYTES)
            with (shard / "embeddings.npy").open("rb") as file:
                shape, dtype, offset = header(file, os.fstat(file.fileno()).st_size)
        except _DAMAGED as error:
            why = reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
            self._leave_out(shard, f"it cannot be read ({why})")
            return
        except OSError as error:
            raise _unreadable(shard, error) from error
        if not fits or shape != (rows, self.dim) or dtype != np.float32:
            self._leave_out(shard, "its shape or type is not the store's")
            return
        self._shards[number] = _Shard(rows, offset)
        self._index.put(keys, _places(number, rows))

    def _leave_out(self, shard: Path, why: str) -> None:
        log.warning("%s: left out, %s; its pictures are embedded again, and the next write removes it", shard, why)
        self._damaged.append(shard)

    def _drop_damaged(self) -> None:
        while self._damaged:
            shard_folders.remove(self._damaged.pop())

    def _path(self, number: int) -> Path:
        return self.folder / self._name(number)

    def _name(self, number: int) -> str:
        return self._names.get(number) or f"{number:08d}"

    def _write(self, keys: NDArray[np.uint8], parts: Iterable[NDArray[np.float32]]) -> None:
        with storage_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                shard_folders.sweep(self.folder)
                self._swept = True
            self._drop_damaged()
            number = max([0, *shard_folders.numbers(self.folder)]) + 1
            aside = self.folder / f".{number:08d}.tmp"
            try:
                aside.mkdir()
                shard_folders.save(aside / "embeddings.npy", (len(keys), self.dim), "<f4", parts)
                shard_folders.save(aside / "keys.npy", keys.shape, "|u1", [keys])
                sync_folder(aside)
                aside.rename(self._path(number))
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            sync_folder(self.folder)
        self._load(number)

    def _merge(self, numbers: list[int], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]] | None = None) -> None:
        """Write the rows of several shards as one, then remove them; a kill in between leaves both, which is sound.

        Rows whose key was written again since are left behind: in the newest shard they would be found before the
        others, and they may be damaged, which is why others were written.
        """
        keys, live = {}, {}
        for number in numbers:
            with storage_errors(self._path(number)):
                keys[number] = np.load(self._path(number) / "keys.npy", allow_pickle=False)
            live[number] = self._index.find(list(map(bytes, keys[number]))) == _places(number, len(keys[number]))
            if keep is not None:
                live[number] &= keep(keys[number])
        kept = np.concatenate([keys[number][live[number]] for number in numbers])
        if len(kept):
            # Shard by shard, so that no more of the vectors than one shard's is in memory.
            self._write(kept, (self._rows(number, np.flatnonzero(live[number])) for number in numbers))
        for number in numbers:
            del self._shards[number]
            shard_folders.remove(self._path(number))
        if keep is not None:
            self._open()  # keys that were not kept are not there any more


def _places(number: int, rows: int) -> NDArray[np.int64]:
    return (np.int64(number) << _ROW_BITS) | np.arange(rows, dtype=np.int64)


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path}: cannot be read ({reason(error)}); put that right and run the same command again")
