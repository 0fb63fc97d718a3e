"""Bytes as lines of UTF-8, none longer than a row may be, and rows made of them in batches."""

from __future__ import annotations

import io
from functools import partial
from typing import IO, TYPE_CHECKING, TypeVar, cast

from ingest.catalog.rows import MAX_ROW
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.catalog.base import CatalogFile

T = TypeVar("T")

BLOCK_CELLS = 65_536
"""Cells that a block of text has at most; a single row may have more."""
_BLOCK_ROWS, _BLOCK_BYTES = 1_024, 1 << 18
_BOM = b"\xef\xbb\xbf"
_ENDS = ("\n", "\r")
_NAMES = {"\r\n": "CR LF", "\n": "LF", "\r": "CR"}
_KEPT, _PIECE = 1 << 12, 1 << 20  # characters of a line that is too long: kept, and read at a time
_NOT_IN_WINDOWS = "\udc81\udc8d\udc8f\udc90\udc9d"  # the bytes 0x81 … as Python decodes what is not UTF-8


class OverlongLine(str):
    """The beginning of a line that is longer than a row may be; the rest of it was not kept."""

    __slots__ = ()


class Lines:
    """Lines with their ends (LF, CR LF or CR); raises CatalogError at the first line that is not UTF-8.

    `offset` is how many bytes have been read, `has_bom` whether they begin with a byte order mark, and `first` and
    `last` are the first and the last line read, "" before that.
    """

    def __init__(self, stream: io.BufferedReader, file: CatalogFile) -> None:
        self.has_bom = stream.peek(len(_BOM)).startswith(_BOM)
        self.offset = len(_BOM) if self.has_bom else 0
        self.first = self.last = ""
        stream.read(self.offset)
        # A strict decoder would fail for a whole buffer, before the valid lines in it are read.
        self._text = io.TextIOWrapper(cast("IO[bytes]", stream), "utf-8", errors="surrogateescape", newline="")
        self._file = file

    def close(self) -> None:
        """Detach from the stream, which its opener closes."""
        self._text.detach()

    @property
    def is_ended(self) -> bool:
        """Whether the last line has its line end, as far as the file was read."""
        return self.last.endswith(_ENDS) or self.last.isspace()

    @property
    def line_end(self) -> str:
        """The name of the first line's end; "" if it has none."""
        return next((name for end, name in _NAMES.items() if self.first.endswith(end)), "")

    def __iter__(self) -> Iterator[str]:
        read = partial(self._text.readline, MAX_ROW)
        for number, line in enumerate(iter(read, ""), 1):
            self._count(line, number)
            self.first = self.first or line
            self.last = line
            if len(line) == MAX_ROW and not line.endswith(_ENDS):
                self._skip_rest(number)
                yield OverlongLine(line[:_KEPT])
            else:
                yield line

    def _skip_rest(self, number: int) -> None:
        """Read to the end of a line that is too long, a piece at a time."""
        for piece in iter(partial(self._text.readline, _PIECE), ""):
            self._count(piece, number)
            self.last = piece
            if piece.endswith(_ENDS):
                return

    def _count(self, text: str, number: int) -> None:
        """Count the bytes of a line, or of a piece of one; raises CatalogError if they are not UTF-8."""
        try:
            self.offset += len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError as error:
            place = self.offset + len(text[: error.start].encode())
            source = _guess_encoding(text)
            raise CatalogError(
                f"{self._file} line {number}: byte {place} of the file is not UTF-8; "
                f"convert the file from the encoding it was saved in, e.g. iconv -f {source} -t utf-8"
            ) from error


def hold_back_last(rows: Iterable[T], finish: Callable[[T | None], T | None]) -> Iterator[T]:
    """Yield rows, the last one as `finish` returns it, which is called once all lines have been read.

    `finish` gets None if there are no rows. Rows before an error are yielded before it, as they are.
    """
    held: list[T] = []
    try:
        for row in rows:
            if held:
                yield held.pop()
            held.append(row)
    except Exception:
        yield from held
        raise
    last = finish(held[0] if held else None)
    if last is not None:
        yield last


def batch_rows(rows: Iterable[T], lines: Lines, max_rows: int = _BLOCK_ROWS) -> Iterator[list[T]]:
    """Yield lists of at most `max_rows` rows or about 256 kB; rows before an error are yielded before it."""
    batch: list[T] = []
    max_rows, end = min(max_rows, _BLOCK_ROWS), lines.offset + _BLOCK_BYTES
    try:
        for row in rows:
            batch.append(row)
            if len(batch) >= max_rows or lines.offset >= end:
                yield batch
                batch, end = [], lines.offset + _BLOCK_BYTES
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _guess_encoding(line: str) -> str:
    """Return the likely encoding of a line that is not UTF-8, given with surrogates for its bytes above 0x7F.

    Windows-1252 has printable characters where Latin-1 has control characters (0x80 to 0x9F) and is otherwise the same,
    so it is right for both. The five bytes it lacks are letters in the code pages of DOS.
    """
    if line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        return "utf-16"
    return "cp850" if any(byte in line for byte in _NOT_IN_WINDOWS) else "windows-1252"
