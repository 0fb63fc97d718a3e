"""One model's vectors on object storage: shards of two objects each, and a mirror of them on this machine's disk.

`<name>/embeddings.npy` is put first and `<name>/keys.npy` last, so a listing with both shows a whole shard. A shard's
name is a digest of its keys (`concurrent_shards`), so any number of machines may write, and what was read once stays
true.
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
from ingest.runtime.hash_index import pack_keys
from ingest.runtime.npy import header
from ingest.store import concurrent_shards
from ingest.store.base import KEY_BYTES, Shard, are_unit_rows, check_shape, to_list
from ingest.store.key_index import KeyIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from ingest.runtime.hash_index import SortedKeys
    from ingest.store.bucket import Bucket, StoredObject

log = logging.getLogger(__name__)

MIRROR_BYTES = 64 * 2**30
"""The mirror's size limit. The shards used longest ago are removed first, and downloaded again when they are needed."""

_MAPPED = 64  # shards mapped at the same time


class _Shard(NamedTuple):
    """A shard's rows, the size of both its objects, and when it was put."""

    rows: int
    size: int
    modified: float


class ObjectStorageStore:
    """The vectors of one embedding space in a bucket's folder, whose last part is the space's fingerprint.

    `mirror` is a folder for this machine alone. Raises StorageError if the storage is unavailable or refuses.
    """

    min_shard_rows = 1024

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
        """Return each key's vector, or None, as `EmbeddingStore` says."""
        return to_list(*self.take(keys))

    def take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Return which keys have a sound vector, and those vectors, as `EmbeddingStore` says."""
        with self._lock:
            try:
                return self._take(keys)
            except FileNotFoundError:  # another machine has merged the shard
                self._open()
                return self._take(keys)

    def holds(self, keys: Sequence[bytes]) -> list[bool]:
        """Return for each key whether it has a vector, without reading that."""
        with self._lock:
            return list(map(bool, self._index.contains(keys)))

    def sorted_keys(self) -> SortedKeys:
        """Return all keys as arrays, for a process that cannot open the store."""
        with self._lock:
            return self._index.sorted_keys()

    def add(self, keys: Sequence[bytes], vectors: NDArray[np.float32]) -> None:
        """Put one shard, as `EmbeddingStore` says."""
        check_shape(keys, vectors, self.dim)
        with self._lock:
            self._put(pack_keys(keys, KEY_BYTES), np.ascontiguousarray(vectors, np.float32))

    def adopt(self, name: str) -> None:
        """Load a shard that another process has put since the store was opened."""
        with self._lock:
            if name not in self._shards:
                self._load({name: self._objects(name)})

    def shards(self) -> list[Shard]:
        """List the sound shards, the oldest first."""
        with self._lock:
            return [Shard(name, *shard) for name, shard in self._shards.items()]

    def rewrite(self, names: Sequence[str], keep: Callable[[NDArray[np.uint8]], NDArray[np.bool_]]) -> None:
        """Merge shards into one, of the rows whose keys `keep` accepts, as `EmbeddingStore` says."""
        with self._lock:
            keys: list[NDArray[np.uint8]] = []
            vectors: list[NDArray[np.float32]] = []
            old = [name for name in self._shards if name in names]
            for name in old:
                of_shard = self._read_keys(name)
                kept = self._index.is_current(name, of_shard) & keep(of_shard)
                keys.append(of_shard[kept])
                vectors.append(np.array(self._map(name)[kept]))
            together = np.concatenate(keys)
            new = self._put(together, np.concatenate(vectors)) if len(together) else ""
            for name in old:
                if name != new:
                    self._bucket.remove(f"{name}/keys.npy")  # the commit goes first
                    self._bucket.remove(f"{name}/embeddings.npy")
            self._open()

    def _open(self) -> None:
        self._index = KeyIndex()
        self._shards: dict[str, _Shard] = {}
        self._mapped: OrderedDict[str, NDArray[np.float32]] = OrderedDict()
        listing = self._bucket.list()
        whole = {
            name.removesuffix("/keys.npy"): (keys, listing[embeddings])
            for name, keys in listing.items()
            if name.endswith("/keys.npy") and (embeddings := name.replace("keys.npy", "embeddings.npy")) in listing
        }
        # What was put later counts: a damaged vector is replaced by another shard with its key.
        self._load(dict(sorted(whole.items(), key=lambda item: (item[1][0].modified, item[0]))))

    def _load(self, found: dict[str, tuple[StoredObject, StoredObject]]) -> None:
        keys = self._get_keys({name: entry.size for name, (entry, _) in found.items()})
        for name, (entry, embeddings) in found.items():
            if name not in keys:
                continue
            packed = keys[name]
            if packed is None or embeddings.size < 4 * self.dim * len(packed):
                log.warning("%s/%s: left out, it is damaged; its images are embedded again", self._bucket.url, name)
                continue
            self._shards[name] = _Shard(len(packed), entry.size + embeddings.size, entry.modified)
            self._index.put(name, packed)
            self._mapped.pop(name, None)  # the shard may replace a damaged one of its name

    def _get_keys(self, sizes: dict[str, int]) -> dict[str, NDArray[np.uint8] | None]:
        """Return the keys of these shards, from the mirror or the storage: None if damaged, no entry if removed."""
        found: dict[str, NDArray[np.uint8] | None] = {}
        for name in sizes:
            keys = self._parse_keys(name, _read_bytes(self._mirrored(name, "keys")))
            if keys is not None:
                found[name] = keys
        missing = {f"{name}/keys.npy": size for name, size in sizes.items() if name not in found}
        for path, content in self._bucket.get_all(missing):
            name = path.removesuffix("/keys.npy")
            found[name] = keys = self._parse_keys(name, content)
            if keys is not None:
                with atomic_write_unswept(self._mirrored(name, "keys")) as file:
                    file.write(content)
        return found

    def _parse_keys(self, name: str, content: bytes) -> NDArray[np.uint8] | None:
        """Return the keys in a `keys.npy`; None unless they are those that the shard's name was made from."""
        try:
            shape, dtype, offset = header(io.BytesIO(content), len(content))
        except (ValueError, EOFError, SyntaxError):
            return None
        if len(shape) != 2 or shape[1] != KEY_BYTES or dtype != np.uint8:
            return None
        keys = np.frombuffer(content, np.uint8, shape[0] * KEY_BYTES, offset).reshape(shape)
        return keys if concurrent_shards.name(self._fingerprint, keys) == name else None

    def _read_keys(self, name: str) -> NDArray[np.uint8]:
        keys = self._get_keys({name: self._objects(name)[0].size}).get(name)
        if keys is None:
            raise FileNotFoundError(name)
        return keys

    def _put(self, keys: NDArray[np.uint8], vectors: NDArray[np.float32]) -> str:
        name = concurrent_shards.name(self._fingerprint, keys)
        self._mirrored(name, "embeddings").unlink(missing_ok=True)  # a damaged one has this name too
        concurrent_shards.put_objects(self._bucket, name, keys, vectors)
        self._load({name: self._objects(name)})
        return name

    def _objects(self, name: str) -> tuple[StoredObject, StoredObject]:
        """Return a shard's two objects as they are now, keys first; raises FileNotFoundError if it is removed."""
        listing = self._bucket.list(name)
        if not {"keys.npy", "embeddings.npy"} <= set(listing):
            raise FileNotFoundError(f"{self._bucket.url}/{name}")
        return listing["keys.npy"], listing["embeddings.npy"]

    def _take(self, keys: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        vectors = np.zeros((len(keys), self.dim), np.float32)
        for shard, positions, rows in self._index.locate(keys):
            vectors[positions] = self._map(shard)[rows]
        sound = are_unit_rows(vectors)
        return sound, vectors if sound.all() else vectors[sound]

    def _map(self, name: str) -> NDArray[np.float32]:
        vectors = self._mapped.get(name)
        if vectors is None:
            while len(self._mapped) >= _MAPPED:
                self._mapped.popitem(last=False)
            vectors = self._mapped[name] = self._open_vectors(name)
        self._mapped.move_to_end(name)
        return vectors

    def _open_vectors(self, name: str) -> NDArray[np.float32]:
        path, shape = self._mirrored(name, "embeddings"), (self._shards[name].rows, self.dim)
        try:
            vectors = _map_file(path, shape)
        except (OSError, ValueError, EOFError, SyntaxError):
            self._download(name, path)
            try:
                vectors = _map_file(path, shape)
            except (ValueError, EOFError, SyntaxError):
                log.warning("%s/%s: damaged; its images are embedded again", self._bucket.url, name)
                return np.zeros(shape, np.float32)  # of length 0, so none of them counts as a vector
        os.utime(path, follow_symlinks=os.utime not in os.supports_follow_symlinks)
        return vectors

    def _download(self, name: str, path: Path) -> None:
        content = self._bucket.get(f"{name}/embeddings.npy", self._objects(name)[1].size)
        with storage_errors(self._mirror):
            self._make_room(len(content))
        with atomic_write_unswept(path) as file:
            file.write(content)

    def _make_room(self, size: int) -> None:
        files = sorted((path.stat().st_mtime, path.stat().st_size, path) for path in self._mirror.glob("*.embeddings"))
        excess = sum(bytes_ for _, bytes_, _ in files) + size - MIRROR_BYTES
        for _, bytes_, path in files:
            if excess <= 0:
                break
            with suppress(OSError):  # Windows keeps mapped files
                path.unlink()
            excess -= bytes_

    def _mirrored(self, name: str, kind: str) -> Path:
        return self._mirror / f"{name}.{kind}"


def _map_file(path: Path, shape: tuple[int, int]) -> NDArray[np.float32]:
    with path.open("rb") as file:
        found, dtype, offset = header(file, os.fstat(file.fileno()).st_size)
    if found != shape or dtype != np.float32:
        raise ValueError(f"{dtype} of shape {found}")
    return np.memmap(path, np.float32, "r", offset, shape)


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
