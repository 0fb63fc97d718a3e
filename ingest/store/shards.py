"""One model's vectors on disk: immutable shards, keyed by the SHA-256 of the pictures' bytes.

A shard is a folder `<number>/` with `embeddings.npy`, (n, dim) float32, and `keys.npy`, (n, 32) uint8. It is
built aside, fsynced, and appears by one rename or not at all, so a killed run leaves whole shards and at most
one `.<number>.tmp` that the next writer sweeps away.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import numpy as np

from ingest.durable import sync_folder, write_npy, writing_to
from ingest.flow import batched
from ingest.records import Embedded, Picture
from ingest.store.keys import ABSENT, KEY_BYTES, KeyIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
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
_HELD = 32  # batches of records that may wait for one vector to be written, so that memory is bounded


class Store:
    """The vectors of one embedding space in `folder`. One writer at a time; any number of readers."""

    def __init__(self, folder: Path, dim: int) -> None:
        self.folder = folder
        self.dim = dim
        self._index = KeyIndex()
        self._shards: dict[int, NDArray[np.float32]] = {}
        self._lock = threading.Lock()
        self._swept = False
        for number in sorted(_numbers(folder)):
            self._load(number)

    @property
    def rows(self) -> int:
        """Rows in all shards; a key that was written twice counts twice."""
        return sum(len(shard) for shard in self._shards.values())

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, (dim,) float32 of unit length, or None where there is none or it is damaged."""
        with self._lock:
            places = self._index.find(keys).tolist()
            return [None if place == ABSENT else self._row(place) for place in places]

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
            self._write(packed, np.ascontiguousarray(vectors, np.float32))
            small = [number for number, shard in self._shards.items() if len(shard) < FULL_SHARD_ROWS]
            if len(small) >= MERGE_AT:
                self._merge(small)

    def _row(self, place: int) -> NDArray[np.float32] | None:
        vector = np.array(self._shards[place >> _ROW_BITS][place & ((1 << _ROW_BITS) - 1)])
        sound = abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE
        return vector if sound else None

    def _load(self, number: int) -> None:
        shard = self.folder / f"{number:08d}"
        try:
            keys = np.lib.format.open_memmap(shard / "keys.npy", mode="r")  # np.load would take a .npz too
            vectors = np.lib.format.open_memmap(shard / "embeddings.npy", mode="r")
        except (OSError, ValueError, EOFError) as error:
            log.warning("%s: left out, it cannot be read (%s); its pictures are embedded again", shard, error)
            return
        fits = keys.dtype == np.uint8 and vectors.dtype == np.float32
        if not fits or keys.shape[1:] != (KEY_BYTES,) or vectors.shape != (len(keys), self.dim):
            log.warning("%s: left out, its shape or type is not the store's; its pictures are embedded again", shard)
            return
        self._enter(number, keys, vectors)

    def _enter(self, number: int, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
        self._shards[number] = vectors
        self._index.put(keys, _places(number, len(keys)))

    def _write(self, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> None:
        with writing_to(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not self._swept:
                _sweep(self.folder)
                self._swept = True
            number = max([0, *_numbers(self.folder)]) + 1
            aside = self.folder / f".{number:08d}.tmp"
            try:
                aside.mkdir()
                _save(aside / "embeddings.npy", vectors)
                _save(aside / "keys.npy", keys)
                sync_folder(aside)
                aside.rename(self.folder / f"{number:08d}")
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
        keys = np.concatenate([np.load(self.folder / f"{n:08d}" / "keys.npy", allow_pickle=False) for n in numbers])
        vectors = np.concatenate([self._shards[number] for number in numbers])
        places = np.concatenate([_places(number, len(self._shards[number])) for number in numbers])
        live = self._index.find(list(map(bytes, keys))) == places
        if live.any():
            self._write(keys[live], vectors[live])
        for number in numbers:
            del self._shards[number]
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


def append(records: Iterable[Embedded | Skipped], store: Store, batch: int) -> Iterator[Embedded | Skipped]:
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
            if len(new) >= batch or not new or len(held) >= _HELD * batch:
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


def _save(path: Path, array: NDArray[np.generic]) -> None:
    with path.open("wb") as file:
        write_npy(file, array)
        file.flush()
        os.fsync(file.fileno())
