"""Which shard, and which row of it, holds each key's vector: 40 bytes a key in memory.

The rows of all shards are numbered consecutively, in the order in which the shards were put. So one number says where a
vector is, and a shard's numbers are known by its first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.hash_index import ABSENT, HashIndex, pack_keys
from ingest.store.base import KEY_BYTES
from ingest.store.shared_index import SharedKeyIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray


class KeyIndex:
    """A map from key (32 bytes) to a row of a shard. If several shards have a key, the one put last counts."""

    def __init__(self) -> None:
        self._numbers = HashIndex(KEY_BYTES)
        self._starts: list[int] = []  # the number of each shard's first row, ascending
        self._shards: list[str] = []
        self._end = 0

    @classmethod
    def of(cls, shared: SharedKeyIndex) -> KeyIndex:
        """Return an index of these arrays; it must not be written to."""
        index = cls()
        index._numbers = HashIndex.of(shared.keys)
        index._starts = shared.starts.tolist()
        index._shards = [name.decode() for name in shared.shards.tolist()]
        return index

    def put(self, shard: str, keys: NDArray[np.uint8]) -> None:
        """Add a shard's rows, by their keys, (n, 32) uint8, in order."""
        self.put_all({shard: keys})

    def put_all(self, shards: Mapping[str, NDArray[np.uint8]]) -> None:
        """Add the rows of many shards at once, which takes little longer than one."""
        if not shards:
            return
        begun = self._end
        for shard, keys in shards.items():
            self._starts.append(self._end)
            self._shards.append(shard)
            self._end += len(keys)
        self._numbers.put(np.concatenate(list(shards.values())), np.arange(begun, self._end))

    def contains(self, keys: Sequence[bytes]) -> NDArray[np.bool_]:
        """Return which keys have a row, (n,) bool."""
        is_present: NDArray[np.bool_] = self._numbers.find(pack_keys(keys, KEY_BYTES)) != ABSENT
        return is_present

    def locate(self, keys: Sequence[bytes]) -> Iterator[tuple[str, NDArray[np.int64], NDArray[np.int64]]]:
        """Yield, for each shard that has some of the keys, its name, the positions of those keys, and their rows."""
        numbers = self._numbers.find(pack_keys(keys, KEY_BYTES))
        present = np.flatnonzero(numbers != ABSENT)
        order = present[np.argsort(numbers[present], kind="stable")]
        shards, begins = np.unique(np.searchsorted(self._starts, numbers[order], "right") - 1, return_index=True)
        for shard, positions in zip(shards.tolist(), np.split(order, begins[1:]), strict=False):
            yield self._shards[shard], positions, numbers[positions] - self._starts[shard]

    def is_current(self, shard: str, keys: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Return which rows of a shard count, (n,) bool: those whose key was not put again later."""
        start = max(start for start, name in zip(self._starts, self._shards, strict=True) if name == shard)
        is_current: NDArray[np.bool_] = self._numbers.find(keys) == np.arange(start, start + len(keys))
        return is_current

    def share(self) -> SharedKeyIndex:
        """Return the whole index, for other processes."""
        shards = np.array([name.encode() for name in self._shards], np.bytes_)
        return SharedKeyIndex(self._numbers.sorted_keys(), np.array(self._starts, np.int64), shards)
