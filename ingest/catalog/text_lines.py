"""Bytes as lines of UTF-8, and rows made of them in batches."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, TypeVar, cast

from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.catalog.base import CatalogFile

T = TypeVar("T")

BLOCK_CELLS = 65_536
"""Cells that a block of text has at most; a single row may have more."""
_BLOCK_ROWS, _BLOCK_BYTES = 1_024, 1 << 18
_BOM = b"\xef\xbb\xbf"
_NOT_IN_WINDOWS = "\udc81\udc8d\udc8f\udc90\udc9d"  # the bytes 0x81 … as Python decodes what is not UTF-8


class Lines:
    """Lines with their ends (LF, CR LF or CR); raises CatalogError at the first line that is not UTF-8.

    `offset` is how many bytes have been read.
    """

    def __init__(self, stream: io.BufferedReader, file: CatalogFile) -> None:
        self.offset = len(_BOM) if stream.peek(len(_BOM)).startswith(_BOM) else 0
        stream.read(self.offset)
        # A strict decoder would fail for a whole buffer, before the valid lines in it are read.
        self._text = io.TextIOWrapper(cast("IO[bytes]", stream), "utf-8", errors="surrogateescape", newline="")
        self._file = file

    def close(self) -> None:
        """Detach from the stream, which its opener closes."""
        self._text.detach()

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._text, 1):
            try:
                self.offset += len(line) if line.isascii() else len(line.encode())
            except UnicodeEncodeError as error:
                place = self.offset + len(line[: error.start].encode())
                source = _guess_encoding(line)
                raise CatalogError(
                    f"{self._file} line {number}: byte {place} of the file is not UTF-8; "
                    f"convert the file from the encoding it was saved in, e.g. iconv -f {source} -t utf-8"
                ) from error
            yield line


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
