"""Which ids a catalog has had, and the line of each one's first row, in 18 to 28 bytes an id."""

from __future__ import annotations

from array import array

_FIRST_SLOTS = 8191
_FULL = 0.65  # of the slots taken: then they become half as many again; at 0.8 twice as many are looked at
_64_BITS = (1 << 64) - 1


class FirstLines:
    """A hash table without the ids: a dictionary of them would take 190 bytes each.

    An id is known by the 64 bits of Python's own hash, which is another in each process: two of a million ids share
    theirs in one of 37 million runs, and not in the next.
    """

    def __init__(self) -> None:
        self._count = 0
        self._make(_FIRST_SLOTS)

    def of(self, product_id: str, line: int) -> int:
        """Return the line that was given with this id the first time, which is `line` where it is now."""
        value = (hash(product_id) & _64_BITS) or 1
        hashes = self._hashes
        at = value % self._slots
        while there := hashes[at]:
            if there == value:
                return self._lines[at]
            at += 1
            if at == self._slots:
                at = 0
        hashes[at] = value
        self._lines[at] = line
        self._count += 1
        if self._count > self._most:
            self._grow()
        return line

    def _make(self, slots: int) -> None:
        self._slots = slots
        self._most = int(_FULL * slots)
        self._hashes = array("Q", bytes(8 * slots))  # 0 is an empty slot
        self._lines = array("I", bytes(4 * slots))

    def _grow(self) -> None:
        before = zip(self._hashes, self._lines, strict=True)
        self._make(self._slots * 3 // 2)
        hashes, lines, slots = self._hashes, self._lines, self._slots
        for value, line in before:
            if value:
                at = value % slots
                while hashes[at]:
                    at = at + 1 if at + 1 < slots else 0
                hashes[at], lines[at] = value, line
