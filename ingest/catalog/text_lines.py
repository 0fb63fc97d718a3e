"""Bytes as lines of text, none longer than a row may be, and rows made of them in batches."""

from __future__ import annotations

import io
from functools import partial
from typing import IO, TYPE_CHECKING, Protocol, TypeVar, cast

from ingest.catalog.encoding import UTF8, Encoding
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


class HasOffset(Protocol):
    """A source of rows that knows about how many bytes it has read."""

    @property
    def offset(self) -> int:
        """About how many bytes have been read."""


class OverlongLine(str):
    """The beginning of a line that is longer than a row may be; the rest of it was not kept."""

    __slots__ = ()


class Lines:
    """Lines with their ends (LF, CR LF or CR); raises CatalogError at the first line that is not in the encoding.

    `offset` is about how many bytes have been read, `encoding` what the text is in, and `first` and `last` are the
    first and the last line read, "" before that. A byte order mark of UTF-8 is always recognised.
    """

    def __init__(self, stream: io.BufferedReader, file: CatalogFile, encoding: Encoding = UTF8) -> None:
        if encoding.is_utf8 and stream.peek(len(_BOM)).startswith(_BOM):
            encoding = Encoding("UTF-8 with a byte order mark", "utf-8", len(_BOM))
        self.encoding = encoding
        self.offset = encoding.bom
        self.first = self.last = ""
        stream.read(self.offset)
        # A strict decoder would fail for a whole buffer, before the valid lines in it are read.
        self._is_wide = encoding.codec.startswith(("utf-16", "utf-32"))
        errors = "strict" if self._is_wide else "surrogateescape"
        self._text = io.TextIOWrapper(cast("IO[bytes]", stream), encoding.codec, errors=errors, newline="")
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
        for number, line in enumerate(self._until_end(read), 1):
            self._count(line, number)
            self.first = self.first or line
            self.last = line
            if len(line) == MAX_ROW and not line.endswith(_ENDS):
                self._skip_rest(number)
                yield OverlongLine(line[:_KEPT])
            else:
                yield line

    def _until_end(self, read: Callable[[], str]) -> Iterator[str]:
        try:
            yield from iter(read, "")
        except UnicodeDecodeError as error:
            raise CatalogError(
                f"{self._file}: ends or goes on after {self.last[:40]!r} in what is not {self.encoding.name}; "
                "copy it again, or pass --encoding NAME"
            ) from error

    def _skip_rest(self, number: int) -> None:
        """Read to the end of a line that is too long, a piece at a time."""
        for piece in self._until_end(partial(self._text.readline, _PIECE)):
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
            raise CatalogError(
                f"{self._file} line {number}: byte {place} of the file is not {self.encoding.name}; "
                "name the encoding that it was saved in with --encoding NAME, or save it as UTF-8"
            ) from error


def count_lines(file: CatalogFile) -> int | None:
    """Return the number of newlines of a file, and one more if it does not end in one; None if it is remote."""
    if not file.is_local:
        return None
    count, last = 0, b"\n"
    with file.open_seekable() as stream:
        while chunk := stream.read(1 << 20):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


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


def batch_rows(rows: Iterable[T], lines: HasOffset, max_rows: int = _BLOCK_ROWS) -> Iterator[list[T]]:
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
