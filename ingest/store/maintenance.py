"""Maintenance of a store: small shards merged, unused vectors moved to a trash and back, what each space holds."""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import compress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.hash_index import ABSENT, HashIndex, pack_keys
from ingest.runtime.remote_files import is_remote
from ingest.store.base import KEY_BYTES, MAX_SHARD_ROWS
from ingest.store.bucket import Bucket, StoredObject

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.store.base import EmbeddingStore, Shard

FULL_BYTES = 256 * 2**20
"""The size up to which shards are merged; shards of half this size or more are not."""
_COPIED = 8192  # vectors copied at once
_HEADER = 128  # size of the .npy header that numpy writes


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """What the store holds of one embedding space; `model` is "" if no report of a run names it."""

    fingerprint: str
    model: str
    shards: int
    rows: int
    dim: int
    bytes: int


def spaces(place: str, models: dict[str, str]) -> list[SpaceInfo]:
    """List the spaces of a store, from the sizes of its objects alone; `models` are names by fingerprint."""
    found: dict[str, dict[str, dict[str, StoredObject]]] = {}
    for name, about in _listing(place):
        parts = name.split("/")
        if len(parts) == 3 and parts[2] in ("keys.npy", "embeddings.npy") and not parts[1].startswith("."):
            found.setdefault(parts[0], {}).setdefault(parts[1], {})[parts[2]] = about
    return [_space(fingerprint, models, found[fingerprint].values()) for fingerprint in sorted(found)]


def groups(shards: Sequence[Shard], full: int = FULL_BYTES) -> list[list[str]]:
    """Group small shards, the oldest first, so that each group makes one shard of at most `full` bytes.

    A shard of more rows than one may have when it is written is left alone.
    """
    made: list[list[str]] = []
    size, rows = full, 0
    for shard in shards:
        if shard.bytes * 2 >= full or shard.rows > MAX_SHARD_ROWS:
            continue
        if size + shard.bytes > full or rows + shard.rows > MAX_SHARD_ROWS:
            made.append([])
            size = rows = 0
        made[-1].append(shard.name)
        size += shard.bytes
        rows += shard.rows
    return [group for group in made if len(group) > 1]


def compact(store: EmbeddingStore, groups_: Iterable[Sequence[str]]) -> None:
    """Merge each group into one shard; a key that several shards have is kept once."""
    for names in groups_:
        store.rewrite(names, lambda keys: np.ones(len(keys), bool))


class UnusedVectors:
    """The vectors of `store` whose keys are not `wanted`, in shards older than `grace_s`."""

    def __init__(self, store: EmbeddingStore, wanted: Iterable[bytes], grace_s: float) -> None:
        self._store = store
        self._wanted = HashIndex(KEY_BYTES)
        keys = pack_keys(list(wanted), KEY_BYTES)
        self._wanted.add(keys, np.arange(len(keys)))
        self._shards = older(store, grace_s)
        self.young = sum(shard.rows for shard in store.shards()) - sum(shard.rows for shard in self._shards)
        """Rows in younger shards, which are not looked at."""

    def count(self) -> int:
        """Count the keys that would be dropped if all shards were old enough."""
        return int((~self._is_wanted(self._store.share_index().keys.keys)).sum())

    @property
    def share(self) -> float:
        """The share of all keys that is unused."""
        return self.count() / max(len(self._store.share_index().keys.hashes), 1)

    def move_to(self, trash: EmbeddingStore) -> int:
        """Move them to another store; return how many rows are gone, copies of a key included.

        They are in both stores until the other one has written them, so that a kill loses none.
        """
        before = self._store.rows
        if self._shards:
            keys = self._store.share_index().keys.keys
            _copy(self._store, trash, keys[~self._is_wanted(keys)])
        for shard in self._shards:
            self._store.rewrite([shard.name], self._is_wanted)
        _sweep(self._store, trash)
        return before - self._store.rows

    def _is_wanted(self, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        is_wanted: NDArray[np.bool_] = self._wanted.find(keys) != ABSENT
        return is_wanted


def older(store: EmbeddingStore, seconds: float) -> list[Shard]:
    """Return the shards that were written more than some seconds ago."""
    newest = time.time() - seconds
    return [shard for shard in store.shards() if shard.modified <= newest]


def empty(store: EmbeddingStore, shards: Iterable[Shard]) -> int:
    """Remove shards with all their vectors; return how many rows are gone."""
    before = store.rows
    for shard in shards:
        store.rewrite([shard.name], lambda keys: np.zeros(len(keys), bool))
    return before - store.rows


def restore(store: EmbeddingStore, trash: EmbeddingStore) -> int:
    """Move all vectors of the trash that the store lacks back to it, and empty the trash; return how many."""
    keys = trash.share_index().keys.keys
    restored = _copy(trash, store, keys[~np.array(store.holds(_list(keys)), bool)])
    empty(trash, trash.shards())
    _sweep(store, trash)
    return restored


def forget(store: EmbeddingStore, keys: Sequence[bytes]) -> None:
    """Remove every copy of these vectors, because they are wrong: they are embedded again when they are needed."""
    unwanted = HashIndex(KEY_BYTES)
    unwanted.put(pack_keys(keys, KEY_BYTES), np.arange(len(keys)))
    for shard in store.shards() if any(store.holds(keys)) else ():
        store.rewrite([shard.name], lambda found: unwanted.find(found) == ABSENT)


def _copy(source: EmbeddingStore, target: EmbeddingStore, keys: NDArray[np.uint8]) -> int:
    """Add these vectors of one store, but for damaged ones, to another; return how many."""
    copied = 0
    for start in range(0, len(keys), _COPIED):
        block = _list(keys[start : start + _COPIED])
        sound, vectors = source.take(block)
        if len(vectors):
            target.add(list(compress(block, sound.tolist())), vectors)
        copied += len(vectors)
    return copied


def _sweep(*stores: EmbeddingStore) -> None:
    for store in stores:
        store.sweep()


def _list(keys: NDArray[np.uint8]) -> list[bytes]:
    return [key.tobytes() for key in keys]


def _space(fingerprint: str, models: dict[str, str], shards: Iterable[dict[str, StoredObject]]) -> SpaceInfo:
    whole = [shard for shard in shards if len(shard) == 2]
    rows = [max(shard["keys.npy"].size - _HEADER, 0) // KEY_BYTES for shard in whole]
    widths = [(shard["embeddings.npy"].size - _HEADER) // (4 * n) for shard, n in zip(whole, rows, strict=True) if n]
    size = sum(about.size for shard in whole for about in shard.values())
    return SpaceInfo(fingerprint, models.get(fingerprint, ""), len(whole), sum(rows), max(widths, default=0), size)


def _listing(place: str) -> Iterator[tuple[str, StoredObject]]:
    if is_remote(place, "--store"):
        yield from Bucket(place).list().items()
        return
    root = Path(place)
    for path in root.glob("*/*/*.npy"):
        about = path.stat()
        yield path.relative_to(root).as_posix(), StoredObject(about.st_size, about.st_mtime)
