"""One model's vectors on object storage: shards of two objects each, and a mirror of them on this machine's disk.

`<name>/embeddings.npy` is put first and `<name>/keys.npy` last, so a listing with both shows a whole shard. A shard's
name is a digest of its keys (`concurrent_shards`), so any number of machines may write, and what was read once stays
true.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from ingest.core.errors import StorageError
from ingest.runtime.hash_index import pack_keys
from ingest.store import concurrent_shards
from ingest.store.base import KEY_BYTES, Shard, are_unit_rows, check_rows, check_shape, select_rows, to_list
from ingest.store.key_index import KeyIndex
from ingest.store.mirror import Mirror

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.store.bucket import Bucket, StoredObject
    from ingest.store.shared_index import SharedKeyIndex

log = logging.getLogger(__name__)

T = TypeVar("T")

_MAPPED = 64  # shards mapped at the same time
_TRIES = 10  # while others merge: each of their shards can vanish once between a listing and a read
_DAMAGED = (ValueError, EOFError, SyntaxError)


class _Shard(NamedTuple):
    """A shard's rows and its two objects."""

    rows: int
    keys: StoredObject
    embeddings: StoredObject

    @property
    def size(self) -> int:
        """Bytes of both objects."""
        return self.keys.size + self.embeddings.size


class ObjectStorageStore:
    """The vectors of one embedding space in a bucket's folder, whose last part is the space's fingerprint.

    `mirror` is a folder for this machine alone. Raises StorageError if the storage is unavailable or refuses.
    """

    min_shard_rows = 1024

    def __init__(self, bucket: Bucket, dim: int, mirror: Path) -> None:
        self.dim = dim
        self._bucket = bucket
        self._mirror = Mirror(mirror)
        self._fingerprint = bucket.url.rpartition("/")[2]
        self._lock = threading.Lock()
        self._read_again: set[str] = set()
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
        """Return which keys have a sound vector, and those vectors, as `EmbeddingStore` says."""
        with self._lock:
            return self._steadily(lambda: self._take(keys))

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Return for each key whether it has a vector, without reading that."""
        with self._lock:
            return list(map(bool, self._index.contains(keys)))

    def share_index(self) -> SharedKeyIndex:
        """Return which shard has each vector, for processes that cannot open the store."""
        with self._lock:
            return self._index.share()

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Put one shard, as `EmbeddingStore` says. Others may look vectors up meanwhile."""
        check_shape(keys, vectors, self.dim)
        self._put(pack_keys(keys, KEY_BYTES), np.ascontiguousarray(vectors, np.float32), self._lock)

    def adopt(self, shards: Mapping[str, NDArray[np.uint8]]) -> None:
        """Add shards that other processes have put, as `EmbeddingStore` says; they may be merged by now."""
        with self._lock:
            new = {name: keys for name, keys in shards.items() if name not in self._shards}
            found = concurrent_shards.list_whole(self._bucket) if new else {}
            if not new.keys() <= found.keys():
                self._open()
                return
            self._shards |= {name: _Shard(len(keys), *found[name]) for name, keys in new.items()}
            self._index.put_all(new)

    def sweep(self) -> None:
        """Remove halves of shards, as `EmbeddingStore` says, unless somebody may just be writing the other half."""
        concurrent_shards.remove_halves(self._bucket)

    def shards(self) -> list[Shard]:
        """List the sound shards, the oldest first."""
        with self._lock:
            return [Shard(name, shard.rows, shard.size, shard.keys.modified) for name, shard in self._shards.items()]

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Merge shards into one, of the rows whose keys `keep` accepts, as `EmbeddingStore` says."""
        with self._lock:
            self._steadily(lambda: self._rewrite([name for name in self._shards if name in names], keep))

    def _rewrite(self, old: list[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Merge existing shards; raises FileNotFoundError if one of them is merged by others meanwhile."""
        check_rows(sum(self._shards[name].rows for name in old))
        keys: list[NDArray[np.uint8]] = []
        vectors: list[NDArray[np.float32]] = []
        for name in old:
            of_shard, rows = self._read_keys(name), self._download(name)
            kept = select_rows(of_shard, rows, self._index.is_current(name, of_shard), self._take) & keep(of_shard)
            keys.append(of_shard[kept])
            vectors.append(rows[kept])
        if not old or (len(old) == 1 and len(keys[0]) == self._shards[old[0]].rows):
            return
        read = {name: self._shards[name] for name in old}
        together = np.concatenate(keys)
        new = self._put_checked(together, np.concatenate(vectors), old) if len(together) else ""
        for name, shard in read.items():
            if name != new and self._is_unchanged(name, shard):
                self._remove(name)
        self._open()

    def _steadily(self, function: Callable[[], T]) -> T:
        """Call a function again after a new listing if a shard that it needs was merged by another machine."""
        for _ in range(_TRIES):
            try:
                return function()
            except FileNotFoundError:
                self._open()
        raise StorageError(
            f"{self._bucket.url}: shards were removed as fast as they were read; let other commands that merge or drop "
            "shards end, then run again"
        )

    def _open(self) -> None:
        for _ in range(_TRIES):
            self._index = KeyIndex()
            self._shards: dict[str, _Shard] = {}
            self._mapped: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
            whole = concurrent_shards.list_whole(self._bucket)
            # What was put later counts: a damaged vector is replaced by another shard with its key.
            if self._load(dict(sorted(whole.items(), key=lambda item: (item[1][0].modified, item[0])))):
                return

    def _load(self, found: dict[str, tuple[StoredObject, StoredObject]]) -> bool:
        """Add shards to the index; return whether all of them still exist: one that is merged is in another by now."""
        keys = self._get_keys({name: entry.size for name, (entry, _) in found.items()})
        for name, (entry, embeddings) in found.items():
            if name not in keys:
                continue
            packed = keys[name]
            if packed is None or embeddings.size < 4 * self.dim * len(packed):
                log.warning("%s/%s: left out, it is damaged; its images are embedded again", self._bucket.url, name)
                continue
            self._shards[name] = _Shard(len(packed), entry, embeddings)
            self._index.put(name, packed)
            self._mapped.pop(name, None)  # the shard may replace a damaged one of its name
        return found.keys() == keys.keys()

    def _get_keys(self, sizes: dict[str, int]) -> dict[str, NDArray[np.uint8] | None]:
        """Return the keys of these shards, from the mirror or the storage: None if damaged, no entry if removed."""
        found: dict[str, NDArray[np.uint8] | None] = {}
        for name in sizes:
            keys = concurrent_shards.parse_keys(self._mirror.keys(name), self._fingerprint, name)
            if keys is not None:
                found[name] = keys
        missing = {f"{name}/keys.npy": size for name, size in sizes.items() if name not in found}
        for path, content in self._bucket.get_all(missing):
            name = path.removesuffix("/keys.npy")
            found[name] = keys = concurrent_shards.parse_keys(content, self._fingerprint, name)
            if keys is not None:
                self._mirror.put_keys(name, content)
        return found

    def _read_keys(self, name: str) -> NDArray[np.uint8]:
        keys = self._get_keys({name: self._objects(name)[0].size}).get(name)
        if keys is None:
            raise FileNotFoundError(name)
        return keys

    def _put(self, keys: NDArray[np.uint8], vectors: NDArray[np.float32], lock: AbstractContextManager[object]) -> str:
        """Put a shard, and load it under `lock`; again if another machine has removed one of its name meanwhile."""
        name = concurrent_shards.name(self._fingerprint, keys)
        for _ in range(_TRIES):
            concurrent_shards.put_objects(self._bucket, name, keys, vectors)
            with lock:
                self._load_put(name)
                if name in self._shards or self._index.contains([key.tobytes() for key in keys]).all():
                    return name
        raise StorageError(f"{self._bucket.url}/{name}: was removed each time it was written; run again")

    def _put_checked(self, keys: NDArray[np.uint8], vectors: NDArray[np.float32], old: Sequence[str]) -> str:
        """Put a shard, and read it back; raises StorageError unless it is what was put, and removes it if it is new."""
        name = self._put(keys, vectors, nullcontext())
        if name in self._shards and self._download(name).tobytes() != vectors.tobytes():
            if name not in old:
                self._remove(name)
            self._open()
            raise StorageError(
                f"{self._bucket.url}/{name}: differs from what was written; every original stays, run again"
            )
        return name

    def _remove(self, name: str) -> None:
        self._bucket.remove(f"{name}/keys.npy")  # the commit goes first
        self._bucket.remove(f"{name}/embeddings.npy")

    def _load_put(self, name: str) -> None:
        try:
            self._load({name: self._objects(name)})
        except FileNotFoundError:
            self._open()

    def _objects(self, name: str) -> tuple[StoredObject, StoredObject]:
        """Return a shard's two objects as they are now, keys first; raises FileNotFoundError if it is removed."""
        listing = self._bucket.list(name)
        if not {"keys.npy", "embeddings.npy"} <= set(listing):
            raise FileNotFoundError(f"{self._bucket.url}/{name}")
        return listing["keys.npy"], listing["embeddings.npy"]

    def _is_unchanged(self, name: str, shard: _Shard) -> bool:
        """Return whether a shard is still the one that was read: another machine may have put sound vectors there."""
        try:
            return self._objects(name)[1].version == shard.embeddings.version
        except FileNotFoundError:
            return False

    def _take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        vectors = np.zeros((len(keys), self.dim), np.float32)
        for shard, positions, rows in self._index.locate(keys):
            vectors[positions] = self._map(shard)[rows]
            if shard not in self._read_again and not are_unit_rows(vectors[positions]).all():
                self._read_again.add(shard)  # once: another machine may have put it again, or the copy was damaged now
                self._download(shard)
                vectors[positions] = self._map(shard)[rows]
        sound = are_unit_rows(vectors)
        return sound, vectors if sound.all() else vectors[sound]

    def _map(self, name: str) -> NDArray[np.float32]:
        """Return a shard's vectors, (n, dim) float32, from the mirror; zeros if they are damaged in the storage."""
        vectors = self._mapped.get(name)
        if vectors is None:
            while len(self._mapped) >= _MAPPED:
                self._mapped.popitem(last=False)
            vectors = self._mapped[name] = self._open_vectors(name)
        self._mapped.move_to_end(name)
        return vectors

    def _open_vectors(self, name: str) -> NDArray[np.float32]:
        try:
            vectors = self._mirror.vectors(name, self._shards[name].embeddings)
            if vectors is None:
                self._download(name)
                vectors = self._mirror.vectors(name, self._shards[name].embeddings)
        except _DAMAGED:
            vectors = None
        fits = vectors is not None and vectors.shape == (self._shards[name].rows, self.dim)
        return vectors if vectors is not None and fits else self._zeros(name)

    def _download(self, name: str) -> NDArray[np.float32]:
        """Return a shard's vectors as the storage has them now, and keep a copy; zeros if they are damaged there."""
        shard = self._shards[name]
        about = self._objects(name)[1]
        content = self._bucket.get(f"{name}/embeddings.npy", about.size)
        self._shards[name] = shard._replace(embeddings=about)
        self._mirror.put_vectors(name, about, content)
        self._mapped.pop(name, None)
        vectors = concurrent_shards.parse_vectors(content, (shard.rows, self.dim))
        return self._zeros(name) if vectors is None else vectors

    def _zeros(self, name: str) -> NDArray[np.float32]:
        log.warning("%s/%s: damaged; its images are embedded again", self._bucket.url, name)
        return np.zeros((self._shards[name].rows, self.dim), np.float32)
