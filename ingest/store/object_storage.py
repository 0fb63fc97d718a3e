"""One model's vectors on object storage: the shards of `shards`, each two objects, and a mirror on this disk.

`<name>/embeddings.npy` is put first and `<name>/keys.npy` last: a listing that shows both shows a whole shard. A
shard's name is made from its keys (`concurrent_shards`), so any number of machines may write, and what was read once
stays true.
"""

from __future__ import annotations

import io
import logging
import os
import threading
from collections import OrderedDict
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ingest.runtime.atomic_files import atomic_write_unswept, storage_errors, sweep
from ingest.runtime.npy import header
from ingest.store import concurrent_shards
from ingest.store.base import Shard
from ingest.store.key_index import ABSENT, KEY_BYTES, KeyIndex
from ingest.store.local import UNIT_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.store.bucket import Bucket, StoredObject
    from ingest.store.key_index import KeyArrays

log = logging.getLogger(__name__)

MIRROR_BYTES = 64 * 2**30
"""What the mirror may hold; the shards that were used longest ago go first, and are got again when they are needed."""

_ROW_BITS = 24  # a place is the shard's number in this process << 24 | row
_MAPPED = 64  # shards kept mapped at once


class _Held(NamedTuple):
    """What is held of a shard: its name, its rows, its objects' sizes together, and when it was put."""

    name: str
    rows: int
    size: int
    modified: float


class ObjectStorageStore:
    """The vectors of one embedding space in a bucket's folder, whose last part is the space's fingerprint.

    `mirror` is a folder of this machine alone. Raises StorageError where the storage stays away or refuses.
    """

    fewest = 1024

    def __init__(self, bucket: Bucket, dim: int, mirror: Path) -> None:
        self.dim = dim
        self._bucket = bucket
        self._mirror = mirror
        self._fingerprint = bucket.url.rpartition("/")[2]
        self._lock = threading.Lock()
        with storage_errors(mirror):
            mirror.mkdir(parents=True, exist_ok=True)
            sweep(mirror)
        self._open()

    @property
    def rows(self) -> int:
        """Rows in all shards; a key that was written twice counts twice."""
        with self._lock:
            return sum(shard.rows for shard in self._shards.values())

    def find(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        """Return each key's vector, or None where there is none or it is damaged."""
        with self._lock:
            try:
                return self._found(keys)
            except FileNotFoundError:  # another machine has made one shard of several
                self._open()
                return self._found(keys)

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, and those vectors, as `EmbeddingStore` says."""
        found = self.find(keys)
        sound = np.array([vector is not None for vector in found], bool)
        kept = [vector for vector in found if vector is not None]
        return sound, np.stack(kept) if kept else np.empty((0, self.dim), np.float32)

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Tell for each key whether a vector is there, without reading it."""
        with self._lock:
            return [place != ABSENT for place in self._index.find(keys).tolist()]

    def known(self) -> KeyArrays:
        """Return which keys there are, for a process without the store."""
        with self._lock:
            return self._index.parts()

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Put one shard of (n, dim) float32 unit rows; raises ValueError for vectors of another shape."""
        packed = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
        if vectors.shape != (len(packed), self.dim):
            raise ValueError(f"{len(packed)} keys and vectors of shape {vectors.shape}; the store's dim is {self.dim}")
        with self._lock:
            self._put(packed, np.ascontiguousarray(vectors, np.float32))

    def adopt(self, name: str) -> None:
        """Take note of a shard that another process has put since the store was opened."""
        with self._lock:
            if not any(shard.name == name for shard in self._shards.values()):
                self._load({name: self._objects(name)})

    def shards(self) -> list[Shard]:
        """List the shards that are sound, the oldest first."""
        with self._lock:
            return [Shard(shard.name, shard.rows, shard.size, shard.modified) for shard in self._shards.values()]

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Make one shard of several, of the rows whose keys `keep` wants, as `EmbeddingStore` says."""
        with self._lock:
            kept: list[NDArray[np.uint8]] = []
            vectors: list[NDArray[np.float32]] = []
            old = [(number, shard) for number, shard in self._shards.items() if shard.name in names]
            for number, shard in old:
                keys = self._keys_of(shard)
                places = (np.int64(number) << _ROW_BITS) | np.arange(shard.rows, dtype=np.int64)
                live = (self._index.find(list(map(bytes, keys))) == places) & keep(keys)
                kept.append(keys[live])
                vectors.append(np.array(self._map(number)[live]))
            together = np.concatenate(kept)
            made = self._put(together, np.concatenate(vectors)) if len(together) else ""
            for _, shard in old:
                if shard.name != made:
                    self._bucket.remove(f"{shard.name}/keys.npy")  # the commit goes first
                    self._bucket.remove(f"{shard.name}/embeddings.npy")
            self._open()

    def _open(self) -> None:
        self._index = KeyIndex()
        self._shards: dict[int, _Held] = {}
        self._mapped: OrderedDict[int, NDArray[np.float32]] = OrderedDict()
        self._next = 0
        listing = self._bucket.list()
        whole = {
            name.removesuffix("/keys.npy"): (keys, listing[embeddings])
            for name, keys in listing.items()
            if name.endswith("/keys.npy") and (embeddings := name.replace("keys.npy", "embeddings.npy")) in listing
        }
        # What was put later counts: a damaged vector is healed by another shard with its key.
        self._load(dict(sorted(whole.items(), key=lambda item: (item[1][0].modified, item[0]))))

    def _load(self, found: dict[str, tuple[StoredObject, StoredObject]]) -> None:
        keys = self._got_keys({name: entry.size for name, (entry, _) in found.items()})
        for name, (entry, embeddings) in found.items():
            if name not in keys:
                continue
            packed = keys[name]
            if packed is None or embeddings.size < 4 * self.dim * len(packed):
                log.warning("%s/%s: left out, it is damaged; its pictures are embedded again", self._bucket.url, name)
                continue
            number, self._next = self._next, self._next + 1
            self._shards[number] = _Held(name, len(packed), entry.size + embeddings.size, entry.modified)
            self._index.put(packed, (np.int64(number) << _ROW_BITS) | np.arange(len(packed), dtype=np.int64))

    def _got_keys(self, sizes: dict[str, int]) -> dict[str, NDArray[np.uint8] | None]:
        """Return the keys of these shards, from the mirror or the storage: None where damaged, nothing where gone."""
        found: dict[str, NDArray[np.uint8] | None] = {}
        for name in sizes:
            keys = self._checked(name, _bytes_of(self._mirrored(name, "keys")))
            if keys is not None:
                found[name] = keys
        missing = {f"{name}/keys.npy": size for name, size in sizes.items() if name not in found}
        for path, content in self._bucket.get_all(missing):
            name = path.removesuffix("/keys.npy")
            found[name] = keys = self._checked(name, content)
            if keys is not None:
                with atomic_write_unswept(self._mirrored(name, "keys")) as file:
                    file.write(content)
        return found

    def _checked(self, name: str, content: bytes) -> NDArray[np.uint8] | None:
        """Return the keys in a `keys.npy` where they are those that the shard's name was made from."""
        try:
            shape, dtype, offset = header(io.BytesIO(content), len(content))
        except (ValueError, EOFError, SyntaxError):
            return None
        if len(shape) != 2 or shape[1] != KEY_BYTES or dtype != np.uint8:
            return None
        keys = np.frombuffer(content, np.uint8, shape[0] * KEY_BYTES, offset).reshape(shape)
        return keys if concurrent_shards.name(self._fingerprint, keys) == name else None

    def _keys_of(self, shard: _Held) -> NDArray[np.uint8]:
        keys = self._got_keys({shard.name: self._objects(shard.name)[0].size}).get(shard.name)
        if keys is None:
            raise FileNotFoundError(shard.name)
        return keys

    def _put(self, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> str:
        name = concurrent_shards.name(self._fingerprint, keys)
        self._mirrored(name, "embeddings").unlink(missing_ok=True)  # one that was damaged has this name too
        concurrent_shards.put_objects(self._bucket, name, keys, vectors)
        self._load({name: self._objects(name)})
        return name

    def _objects(self, name: str) -> tuple[StoredObject, StoredObject]:
        """Return a shard's two objects as they are now, keys first; raises FileNotFoundError where it is gone."""
        listing = self._bucket.list(name)
        if not {"keys.npy", "embeddings.npy"} <= set(listing):
            raise FileNotFoundError(f"{self._bucket.url}/{name}")
        return listing["keys.npy"], listing["embeddings.npy"]

    def _found(self, keys: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        places = self._index.find(keys)
        found: list[NDArray[np.float32] | None] = [None] * len(keys)
        for at in np.argsort(places).tolist():  # shard by shard, so that each is mapped once
            place = int(places[at])
            if place != ABSENT:
                vector = np.array(self._map(place >> _ROW_BITS)[place & ((1 << _ROW_BITS) - 1)])
                found[at] = vector if abs(float(np.linalg.norm(vector)) - 1.0) <= UNIT_TOLERANCE else None
        return found

    def _map(self, number: int) -> NDArray[np.float32]:
        vectors = self._mapped.get(number)
        if vectors is None:
            while len(self._mapped) >= _MAPPED:
                self._mapped.popitem(last=False)
            vectors = self._mapped[number] = self._opened(self._shards[number])
        self._mapped.move_to_end(number)
        return vectors

    def _opened(self, shard: _Held) -> NDArray[np.float32]:
        path = self._mirrored(shard.name, "embeddings")
        try:
            vectors = _mapped(path, (shard.rows, self.dim))
        except (OSError, ValueError, EOFError, SyntaxError):
            self._fetch(shard, path)
            try:
                vectors = _mapped(path, (shard.rows, self.dim))
            except (ValueError, EOFError, SyntaxError):
                log.warning("%s/%s: damaged; its pictures are embedded again", self._bucket.url, shard.name)
                return np.zeros((shard.rows, self.dim), np.float32)  # of no length, so none of them counts as a vector
        os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
        return vectors

    def _fetch(self, shard: _Held, path: Path) -> None:
        content = self._bucket.get(f"{shard.name}/embeddings.npy", self._objects(shard.name)[1].size)
        with storage_errors(self._mirror):
            self._make_room(len(content))
        with atomic_write_unswept(path) as file:
            file.write(content)

    def _make_room(self, size: int) -> None:
        there = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._mirror.glob("*.embeddings"))
        over = sum(entry[1] for entry in there) + size - MIRROR_BYTES
        for _, bytes_, path in there:
            if over <= 0:
                break
            with suppress(OSError):  # Windows keeps what is mapped
                path.unlink()
            over -= bytes_

    def _mirrored(self, name: str, kind: str) -> Path:
        return self._mirror / f"{name}.{kind}"


def _mapped(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    with path.open("rb") as file:
        found, dtype, offset = header(file, os.fstat(file.fileno()).st_size)
    if found != shape or dtype != np.float32:
        raise ValueError(f"{dtype} of shape {found}")
    return np.memmap(path, np.float32, "r", offset, shape)


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
