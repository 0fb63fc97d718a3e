"""Where each key's vector lies: a sorted array for what was there, a dictionary for what has come since.

48 bytes a key (the 32 of a SHA-256, 8 of its prefix for the search, 8 of its place), so ten million pictures
cost half a gigabyte; a dictionary of `bytes` would cost five times as much.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

KEY_BYTES = 32
ABSENT = -1
_FOLD_AT = 65_536  # recent keys are sorted in once there are this many


class KeyArrays(NamedTuple):
    """An index as arrays: keys (n, 32) uint8, sorted by `prefixes`, (n,) uint64, and their places, (n,) int64."""

    keys: NDArray[np.uint8]
    prefixes: NDArray[np.uint64]
    places: NDArray[np.int64]


class KeyIndex:
    """A map from key (32 bytes) to place (a whole number ≥ 0), asked for many keys at a time."""

    def __init__(self) -> None:
        self._keys = np.empty((0, KEY_BYTES), np.uint8)
        self._prefixes = np.empty(0, np.uint64)
        self._places = np.empty(0, np.int64)
        self._recent: dict[bytes, int] = {}

    def put(self, keys: NDArray[np.uint8], places: NDArray[np.int64]) -> None:
        """Set the places of `keys`, (n, 32) uint8; a key that was there moves."""
        self._recent.update(zip(map(bytes, keys), places.tolist(), strict=True))
        if len(self._recent) >= _FOLD_AT:
            self._fold()

    def find(self, keys: Sequence[bytes]) -> NDArray[np.int64]:
        """Return the place of each key, or ABSENT."""
        found = np.array([self._recent.get(key, ABSENT) for key in keys], np.int64)
        if len(self._keys) and (found == ABSENT).any():
            wanted = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
            older = self._search(wanted)
            found = np.where(found == ABSENT, older, found)
        return found

    def parts(self) -> KeyArrays:
        """Return all there is as arrays, which `of` takes: other processes may share their memory."""
        self._fold()
        return KeyArrays(self._keys, self._prefixes, self._places)

    @classmethod
    def of(cls, parts: KeyArrays) -> KeyIndex:
        """Return the index that gave these parts."""
        index = cls()
        index._keys, index._prefixes, index._places = parts
        return index

    def _search(self, wanted: NDArray[np.uint8]) -> NDArray[np.int64]:
        prefixes = _prefixes(wanted)
        at = np.searchsorted(self._prefixes, prefixes)
        found = np.full(len(wanted), ABSENT, np.int64)
        open_ = np.arange(len(wanted))
        # Keys that share their first 8 bytes stand side by side: look at each until the prefix ends.
        while len(open_):
            open_ = open_[at[open_] < len(self._keys)]
            open_ = open_[self._prefixes[at[open_]] == prefixes[open_]]
            same = (self._keys[at[open_]] == wanted[open_]).all(axis=1)
            found[open_[same]] = self._places[at[open_[same]]]
            open_ = open_[~same]
            at[open_] += 1
        return found

    def _fold(self) -> None:
        if not self._recent:
            return
        recent = np.frombuffer(b"".join(self._recent), np.uint8).reshape(-1, KEY_BYTES)
        places = np.fromiter(self._recent.values(), np.int64, len(self._recent))
        moved = self._search(recent) != ABSENT if len(self._keys) else np.zeros(len(recent), bool)
        if moved.any():
            stays = ~_isin(self._keys, recent[moved])
            self._keys, self._places = self._keys[stays], self._places[stays]
        keys = np.concatenate([self._keys, recent])
        places = np.concatenate([self._places, places])
        prefixes = _prefixes(keys)
        order = np.argsort(prefixes, kind="stable")
        self._keys, self._places, self._prefixes = keys[order], places[order], prefixes[order]
        self._recent = {}


def _prefixes(keys: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.ascontiguousarray(keys[:, :8]).view(">u8").ravel().astype(np.uint64)


def _isin(keys: NDArray[np.uint8], others: NDArray[np.uint8]) -> NDArray[np.bool_]:
    whole = np.dtype((np.void, KEY_BYTES))
    return np.isin(np.ascontiguousarray(keys).view(whole).ravel(), np.ascontiguousarray(others).view(whole).ravel())
