"""Which ids of a catalog were read before, and the line of each one's first row, in 16 bytes an id."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

import numpy as np

from ingest.runtime.hash_index import HashIndex

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


class FirstLines:
    """The line on which each id was first read. A dictionary of the ids would take 190 bytes each.

    An id is known by the 64 bits of Python's own hash, which differs in each process: two of a million ids share theirs
    in one of 37 million runs, and not in the next. Lines are numbered consecutively over all files; `before` is the
    number of lines before `file`, the one that is being read.
    """

    def __init__(self) -> None:
        self.file = ""
        self.before = 0
        self._files: list[tuple[int, str]] = []
        self._lines = HashIndex(8)

    def begin(self, file: str, last: int) -> None:
        """Start the next file; `last` is the number of the last line of the file before."""
        self.before += last
        self.file = file
        self._files.append((self.before, file))

    def place(self, line: int) -> str:
        """Return words for a line, as numbered here; they name its file unless that is the one being read."""
        before, file = self._files[bisect_left(self._files, (line,)) - 1]
        return f"line {line - before}" + (f" of {file}" if before != self.before else "")

    def of(self, ids: Sequence[str], lines: Sequence[int]) -> NDArray[np.int64]:
        """Return for each id the first line that was passed with it, in this call or an earlier one; (n,) int64."""
        hashes = np.fromiter(map(hash, ids), np.int64, len(ids))
        return self._lines.add(hashes.view(np.uint8).reshape(-1, 8), np.asarray(lines, np.int64))
