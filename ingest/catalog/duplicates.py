"""Which ids a catalog has had, and where each one's first row stands, in 18 to 28 bytes an id."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_FIRST_SLOTS = 8191
_FULL = 0.65  # of the slots taken: then they become half as many again; at 0.8 twice as many are looked at
_MOVED = 8192  # slots at a time, when there are more of them
_FACTOR, _SUMMAND = np.uint64(6364136223846793005), np.uint64(1442695040888963407)
"""Knuth's (MMIX): each hash looks at slots in an order of its own, so that none has to pass long rows of taken ones."""


class FirstLines:
    """A hash table without the ids: a dictionary of them would take 190 bytes each.

    An id is known by the 64 bits of Python's own hash, which is another in each process: two of a million ids share
    theirs in one of 37 million runs, and not in the next. Lines are counted on from file to file: `before` is what the
    lines of `file`, the one that is being read, come after.
    """

    def __init__(self) -> None:
        self.file = ""
        self.before = 0
        self._files: list[tuple[int, str]] = []
        self._make(_FIRST_SLOTS)

    def begin(self, file: str, last: int) -> None:
        """Go on to the next file; `last` is the last line of the one before."""
        self.before += last
        self.file = file
        self._files.append((self.before, file))

    def place(self, line: int) -> str:
        """Return a line, as counted on, for a message: with its file, where that is not the one being read."""
        before, file = self._files[bisect_left(self._files, (line,)) - 1]
        return f"line {line - before}" + (f" of {file}" if before != self.before else "")

    def of(self, ids: Sequence[str], lines: Sequence[int]) -> NDArray[np.uint32]:
        """Return for each id the line, as counted on, that was given with it the first time, now or before."""
        values = np.fromiter(map(hash, ids), np.int64, len(ids)).view(np.uint64)
        values[values == 0] = 1
        while self._count + len(ids) > _FULL * len(self._hashes):
            self._grow()
        return self._put(values, np.asarray(lines, np.uint32))

    def _put(self, values: NDArray[np.uint64], lines: NDArray[np.uint32]) -> NDArray[np.uint32]:
        """Find a slot for each hash, all at once: where one's slot is another's, it goes on to its next."""
        firsts, states = lines.copy(), values.copy()
        # Backwards: of several written to one slot the last stays, and of equal ones that must be the first.
        left = np.arange(len(values))[::-1]
        while len(left):
            wanted, slots = values[left], (states[left] % np.uint64(len(self._hashes))).view(np.int64)
            there = self._hashes[slots]
            self._hashes[slots] = np.where(there == 0, wanted, there)
            own = self._hashes[slots] == wanted
            new = own & (there == 0)
            self._lines[slots[new]] = lines[left[new]]
            self._count += int(np.count_nonzero(self._lines[slots[new]] == lines[left[new]]))
            firsts[left[own]] = self._lines[slots[own]]
            left = left[~own]
            states[left] = states[left] * _FACTOR + _SUMMAND
        return firsts

    def _make(self, slots: int) -> None:
        self._hashes = np.zeros(slots, np.uint64)  # 0 is an empty slot
        self._lines = np.zeros(slots, np.uint32)
        self._count = 0

    def _grow(self) -> None:
        hashes, lines = self._hashes, self._lines
        self._make(len(hashes) * 3 // 2)
        for start in range(0, len(hashes), _MOVED):
            taken = start + np.flatnonzero(hashes[start : start + _MOVED])
            self._put(hashes[taken], lines[taken])
