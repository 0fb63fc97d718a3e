"""What keeps a store small: merging small shards, dropping vectors that nobody uses, and telling what is there."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.remote_files import is_remote
from ingest.store.bucket import Bucket, StoredObject
from ingest.store.key_index import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from ingest.store.base import EmbeddingStore, Shard

FULL_BYTES = 256 * 2**20
"""What a shard is merged up to; those of half of it and more are left alone."""
_HEADER = 128  # bytes of a .npy's header, as numpy writes it


@dataclass(frozen=True, slots=True)
class SpaceInfo:
    """What the store has of one embedding space; `model` is "" where no report of a run names it."""

    fingerprint: str
    model: str
    shards: int
    rows: int
    dim: int
    bytes: int


def spaces(place: str, models: dict[str, str]) -> list[SpaceInfo]:
    """List the spaces of a store by its objects' sizes alone; `models` are names by fingerprint."""
    found: dict[str, dict[str, dict[str, StoredObject]]] = {}
    for name, about in _listing(place):
        parts = name.split("/")
        if len(parts) == 3 and parts[2] in ("keys.npy", "embeddings.npy") and not parts[1].startswith("."):
            found.setdefault(parts[0], {}).setdefault(parts[1], {})[parts[2]] = about
    return [_space(fingerprint, models, found[fingerprint].values()) for fingerprint in sorted(found)]


def groups(shards: Sequence[Shard], full: int = FULL_BYTES) -> list[list[str]]:
    """Put small shards together, the oldest first, into groups that make one shard of at most `full` bytes each."""
    made: list[list[str]] = []
    size = full
    for shard in shards:
        if shard.bytes * 2 >= full:
            continue
        if size + shard.bytes > full:
            made.append([])
            size = 0
        made[-1].append(shard.name)
        size += shard.bytes
    return [group for group in made if len(group) > 1]


def compact(store: EmbeddingStore, groups_: Iterable[Sequence[str]]) -> None:
    """Make one shard of each group; a key that several have is kept once."""
    for names in groups_:
        store.rewrite(names, lambda keys: np.ones(len(keys), bool))


class UnusedVectors:
    """The vectors that nobody wants: those of `store` whose key is not `wanted`, in shards older than `grace_s`."""

    def __init__(self, store: EmbeddingStore, wanted: Iterable[bytes], grace_s: float) -> None:
        self._store = store
        whole = np.frombuffer(b"".join(wanted), np.uint8).reshape(-1, KEY_BYTES)
        self._wanted = np.unique(_void(whole))
        oldest = time.time() - grace_s
        self._shards = [shard for shard in store.shards() if shard.modified <= oldest]
        self.young = sum(shard.rows for shard in store.shards()) - sum(shard.rows for shard in self._shards)
        """Rows in shards that are not older than the grace period, and so are not looked at."""

    def count(self) -> int:
        """Count the keys that would go, were all shards old enough."""
        return int((~self._is_wanted(self._store.known().keys)).sum())

    def drop(self) -> int:
        """Drop them, shard by shard; return how many rows went, with those whose key was written again since."""
        before = self._store.rows
        for shard in self._shards:
            self._store.rewrite([shard.name], self._is_wanted)
        return before - self._store.rows

    def _is_wanted(self, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return np.isin(_void(keys), self._wanted)


def _void(keys: NDArray[np.uint8]) -> NDArray[np.void]:
    return np.ascontiguousarray(keys).view(np.dtype((np.void, KEY_BYTES))).ravel()


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
