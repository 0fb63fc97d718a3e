"""One model's vectors on disk: immutable shards, keyed by the SHA-256 of the pictures' bytes.

A shard is a folder `<number>/` with `embeddings.npy`, (n, dim) float32, and `keys.npy`, (n, 32) uint8. It is
built aside, fsynced, and appears by one rename or not at all, so a killed run leaves whole shards and at most
one `.<number>.tmp` that the next writer sweeps away. Of most shards the number and the rows alone are held, for
a mapped file costs a descriptor; a few are kept mapped.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import threading
from collections import OrderedDict
from contextlib import suppress
from tokenize import TokenError
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

import numpy as np

from ingest.durable import reason, sync_folder, write_npy, writing_to
from ingest.errors import StorageError
from ingest.flow import batched
from ingest.records import Embedded, Picture
from ingest.store.keys import ABSENT, KEY_BYTES, KeyIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.records import Skipped

log = logging.getLogger(__name__)

FULL_SHARD_ROWS = 8192
"""A shard of at least so many rows is never rewritten."""
MERGE_AT = 32
"""So many shards that are not full become one; each batch of a run leaves a shard, and folders must not pile up."""
UNIT_TOLERANCE = 1e-3
"""How far a stored vector's length may lie from 1 before it counts as damaged."""

_ROW_BITS = 24  # a place is shard number << 24 | row
_MAPPED = 64  # shards kept mapped at once; Python holds a file descriptor for each
_HELD = 32  # batches of records that may wait for one vector to be written, so that memory is bounded


_DAMAGED = (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError, EOFError, SyntaxError, TokenError)


class _Shard(NamedTuple):
    """What is held of a shard: how many rows its `embeddings.npy` has, and from which byte on."""

    rows: int
    offset: int


class Store:
    """The vectors of one embedding space in `folder`. One writer at a time; any number of readers."""

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
        with self._lock:
            try:
                return self._found(keys)
            except FileNotFoundError:  # another process has merged what was not mapped here
                self._open()
                return self._found(keys)

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

    def _open(self) -> None:
        self._index = KeyIndex()
        self._shards: dict[int, _Shard] = {}
        self._mapped: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        for number in sorted(_numbers(self.folder)):
            self._load(number)

    def _found(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        places = self._index.find(keys)
        found: list[NDArray[np.float32] | None] = [None] * len(keys)
        for at in np.argsort(places).tolist():  # shard by shard, so that each is mapped once
            if places[at] != ABSENT:
                found[at] = self._row(int(places[at]))
        return found

    def _row(self, place: int) -> NDArray[np.float32] | None:
        vector = np.array(self._map(place >> _ROW_BITS)[place & ((1 << _ROW_BITS) - 1)])
        sound = abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE
        return vector if sound else None

    def _map(self, number: int) -> NDArray[np.float32]:
        vectors = self._mapped.get(number)
        if vectors is None:
            path, shard = self._path(number) / "embeddings.npy", self._shards[number]
            while len(self._mapped) >= _MAPPED:
                self._mapped.popitem(last=False)
            try:
                vectors = np.memmap(path, np.float32, "r", shard.offset, (shard.rows, self.dim))
            except FileNotFoundError:
                raise
            except (OSError, ValueError) as error:  # a ValueError: it was cut off since
                raise _unreadable(path, error) from error
            self._mapped[number] = vectors
        self._mapped.move_to_end(number)
        return vectors

    def _load(self, number: int) -> None:
        shard = self._path(number)
        try:
            with (shard / "keys.npy").open("rb") as file:
                (rows, *width), dtype, _ = _header(file)
                fits = width == [KEY_BYTES] and dtype == np.uint8
                keys = np.fromfile(file, np.uint8, rows * KEY_BYTES if fits else 0).reshape(-1, KEY_BYTES)
            with (shard / "embeddings.npy").open("rb") as file:
                shape, dtype, offset = _header(file)
        except _DAMAGED as error:
            why = reason(error) if isinstance(error, OSError) else " ".join(str(error).split())
            log.warning("%s: left out, it cannot be read (%s); its pictures are embedded again", shard, why)
            return
        except OSError as error:
            raise _unreadable(shard, error) from error
        if not fits or shape != (rows, self.dim) or dtype != np.float32:
            log.warning("%s: left out, its shape or type is not the store's; its pictures are embedded again", shard)
            return
        self._shards[number] = _Shard(rows, offset)
        self._index.put(keys, _places(number, rows))

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}"

    def _write(self, keys: NDArray[np.uint8], parts: Iterable[NDArray[np.float32]]) -> None:
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                _sweep(self.folder)
                self._swept = True
            number = max([0, *_numbers(self.folder)]) + 1
            aside = self.folder / f".{number:08d}.tmp"
            try:
                aside.mkdir()
                _save(aside / "embeddings.npy", (len(keys), self.dim), "<f4", parts)
                _save(aside / "keys.npy", keys.shape, "|u1", [keys])
                sync_folder(aside)
                aside.rename(self._path(number))
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
            sync_folder(self.folder)
        self._load(number)

    def _merge(self, numbers: list[int]) -> None:
        """Write the rows of several shards as one, then remove them; a kill in between leaves both, which is sound.

        Rows whose key was written again since are left behind: in the newest shard they would be found before the
        others, and they may be damaged, which is why others were written.
        """
        keys, live = {}, {}
        for number in numbers:
            with writing_to(self._path(number)):
                keys[number] = np.load(self._path(number) / "keys.npy", allow_pickle=False)
            live[number] = self._index.find(list(map(bytes, keys[number]))) == _places(number, len(keys[number]))
        kept = np.concatenate([keys[number][live[number]] for number in numbers])
        if len(kept):
            # Shard by shard, so that no more of the vectors than one shard's is in memory.
            self._write(kept, (self._map(number)[live[number]] for number in numbers))
        for number in numbers:
            del self._shards[number]
            self._mapped.pop(number, None)
            _remove(self.folder, number)


def lookup(
    records: Iterable[Picture | Skipped], store: Store, batch: int = 256
) -> Iterator[Picture | Embedded | Skipped]:
    """Turn each picture whose vector is known into an `Embedded`, in order; look up at most `batch` at a time."""
    for group in batched(records, batch):
        pictures = [record for record in group if isinstance(record, Picture)]
        found = dict(zip([p.sha256 for p in pictures], store.find([p.sha256 for p in pictures]), strict=True))
        for record in group:
            vector = found.get(record.sha256) if isinstance(record, Picture) else None
            if isinstance(record, Picture) and vector is not None:
                yield Embedded(record.product, record.sha256, vector)
            else:
                yield record


def append(
    records: Iterable[Embedded | Skipped], store: Store, batch: int | Callable[[], int]
) -> Iterator[Embedded | Skipped]:
    """Write new vectors as a shard for each `batch` of them, and let nothing pass before it is on disk."""
    held: list[Embedded | Skipped] = []
    new: dict[bytes, NDArray[np.float32]] = {}

    def write() -> None:
        if new:
            store.add(list(new), np.stack(list(new.values())))
            new.clear()

    try:
        for record in records:
            held.append(record)
            if isinstance(record, Embedded) and store.find([record.sha256])[0] is None:
                new.setdefault(record.sha256, record.vector)
            if (
                not new
                or len(new) >= (most := batch if isinstance(batch, int) else batch())
                or len(held) >= _HELD * most
            ):
                write()
                yield from held
                held.clear()
    finally:
        # Also when the consumer stops or the source fails: what was computed is never computed again.
        write()
    yield from held


def _places(number: int, rows: int) -> NDArray[np.int64]:
    return (np.int64(number) << _ROW_BITS) | np.arange(rows, dtype=np.int64)


def _numbers(folder: Path) -> list[int]:
    return [int(entry.name) for entry in folder.iterdir() if entry.name.isdecimal()] if folder.is_dir() else []


def _remove(folder: Path, number: int) -> None:
    """Remove a shard by one rename first: what a kill leaves is swept, and never half a shard."""
    aside = folder / f".{number:08d}.tmp"
    with suppress(OSError):  # a shard that stays does no harm
        (folder / f"{number:08d}").rename(aside)
        shutil.rmtree(aside)


def _sweep(folder: Path) -> None:
    for entry in folder.glob(".*.tmp"):
        shutil.rmtree(entry, ignore_errors=True)


def _save(path: Path, shape: tuple[int, ...], dtype: str, parts: Iterable[NDArray[np.generic]]) -> None:
    with path.open("wb") as file:
        write_npy(file, shape, dtype, parts)
        file.flush()
        os.fsync(file.fileno())


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Read a `.npy`'s header: its shape, its type, and the byte its rows begin at; ValueError where it has fewer."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"a .npy of version {version}")
    shape, by_columns, dtype = read(file)
    offset = file.tell()
    if not shape or min(shape) < 0 or by_columns or dtype.hasobject:
        raise ValueError(f"{dtype} of shape {shape}, by columns: {by_columns}")
    if os.fstat(file.fileno()).st_size < offset + math.prod(shape) * dtype.itemsize:
        raise ValueError("it is cut off")
    return shape, dtype, offset


def _unreadable(path: Path, error: Exception) -> StorageError:
    return StorageError(f"{path}: cannot be read ({reason(error)}); put that right and run the same command again")
