"""Hash index: a map from keys of 8, 16 or 32 bytes to row numbers, for many keys at a time.

A key is its own hash: its last 8 bytes must differ from key to key, as a digest's do. The index is a few sorted arrays,
searched by those 8 bytes, and takes 8 bytes a key besides the key: 40 MB for a million SHA-256. A dictionary of `bytes`
would take four times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

ABSENT = -1
_RATIO = 8
"""An array is merged with the one after it once that is an eighth of its size, so that there are never many to search
and none is copied often."""


class SortedKeys(NamedTuple):
    """Keys and their rows as arrays, n of each.

    `hashes`, (n,) uint64, are the last 8 bytes of each key, sorted; `rest`, (n, words) uint64, the bytes before them;
    `rows` are (n,) int64.
    """

    hashes: NDArray[np.uint64]
    rest: NDArray[np.uint64]
    rows: NDArray[np.int64]

    @property
    def keys(self) -> NDArray[np.uint8]:
        """The keys, (n, size) uint8, in the order of their hashes."""
        return np.column_stack([self.rest, self.hashes]).view(np.uint8)

    def search(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Return the position of each key, given as (k, words) uint64, or ABSENT."""
        hashes, rest = words[:, -1], words[:, :-1]
        at = np.searchsorted(self.hashes, hashes)
        found = np.full(len(words), ABSENT, np.int64)
        left = np.arange(len(words))
        # Keys with the same hash are neighbours: compare with each of them.
        while len(left := left[at[left] < len(self.hashes)]):
            left = left[self.hashes[at[left]] == hashes[left]]
            equal = (self.rest[at[left]] == rest[left]).all(axis=1)
            found[left[equal]] = at[left[equal]]
            left = left[~equal]
            at[left] += 1
        return found


class HashIndex:
    """A map from keys of `size` bytes to rows, whole numbers from 0. Keys are passed as (n, size) uint8."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._parts: list[SortedKeys] = []  # from the largest to the smallest, no key in two of them

    @classmethod
    def of(cls, keys: SortedKeys) -> HashIndex:
        """Return an index of these arrays, which processes may share: it must not be written to."""
        index = cls(8 * (1 + keys.rest.shape[1]))
        index._parts = [keys]
        return index

    def __len__(self) -> int:
        return sum(len(part.hashes) for part in self._parts)

    def find(self, keys: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the row of each key, or ABSENT."""
        return self._find(_words(keys))

    def add(self, keys: NDArray[np.uint8], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Add the keys that are new; return the row of each: of a key that is added again, the first."""
        words = _words(keys)
        found = self._find(words)
        new = np.flatnonzero(found == ABSENT)
        order, is_first = _sort(words[new])
        new = new[order]
        firsts = new[is_first]
        if len(firsts):
            self._append(words[firsts], rows[firsts])
            found[new] = rows[firsts][np.cumsum(is_first) - 1]
        return found

    def put(self, keys: NDArray[np.uint8], rows: NDArray[np.int64]) -> None:
        """Set the row of each key: of a key that is put again, the last."""
        words = _words(keys)
        for part in self._parts:
            at = part.search(words)
            part.rows[at[at != ABSENT]] = rows[at != ABSENT]
        self.add(keys[::-1], rows[::-1])

    def sorted_keys(self) -> SortedKeys:
        """Return the whole index as arrays, for `of`."""
        while len(self._parts) > 1:
            self._merge()
        if not self._parts:
            self._append(np.empty((0, self._size // 8), np.uint64), np.empty(0, np.int64))
        return self._parts[0]

    def _find(self, words: NDArray[np.uint64]) -> NDArray[np.int64]:
        found = np.full(len(words), ABSENT, np.int64)
        for part in self._parts:
            at = part.search(words)
            found[at != ABSENT] = part.rows[at[at != ABSENT]]
        return found

    def _append(self, words: NDArray[np.uint64], rows: NDArray[np.int64]) -> None:
        hashes, rest = np.ascontiguousarray(words[:, -1]), np.ascontiguousarray(words[:, :-1])
        self._parts.append(SortedKeys(hashes, rest, rows))
        while len(self._parts) > 1 and len(self._parts[-2].hashes) <= _RATIO * len(self._parts[-1].hashes):
            self._merge()

    def _merge(self) -> None:
        """Merge the last two arrays."""
        one, two = self._parts[-2:]
        at = np.searchsorted(one.hashes, two.hashes)
        hashes, rows = np.insert(one.hashes, at, two.hashes), np.insert(one.rows, at, two.rows)
        self._parts[-2:] = [SortedKeys(hashes, np.insert(one.rest, at, two.rest, axis=0), rows)]


def pack_keys(keys: Sequence[bytes], size: int) -> NDArray[np.uint8]:
    """Return keys of `size` bytes as (n, size) uint8."""
    return np.frombuffer(b"".join(keys), np.uint8).reshape(-1, size)


def _words(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys).view(np.uint64)


def _sort(words: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return the order that sorts keys by their hashes, and which of them, in that order, are the first of a key."""
    order = np.argsort(words[:, -1], kind="stable")
    is_first = np.ones(len(order), bool)
    hashes = words[order, -1]
    if (hashes[1:] == hashes[:-1]).any():  # rare: sort by all words, the hash first, so that equal keys are neighbours
        order = np.lexsort(words.T)
        is_first[1:] = (words[order[1:]] != words[order[:-1]]).any(axis=1)
    return order, is_first
