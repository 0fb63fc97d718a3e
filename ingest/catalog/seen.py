"""Which ids a catalog has had, and where each one's first row stands, in 18 to 28 bytes an id."""

from __future__ import annotations

from array import array
from bisect import bisect_left

_FIRST_SLOTS = 8191
_FULL = 0.65  # of the slots taken: then they become half as many again; at 0.8 twice as many are looked at
_64_BITS = (1 << 64) - 1


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
        self._count = 0
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
