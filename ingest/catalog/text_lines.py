"""A stream of bytes as lines of text; what is not UTF-8 is named with its place and a way to convert it."""

from __future__ import annotations

import io
from typing import IO, TYPE_CHECKING, cast

from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.catalog.files import CatalogFile

_BOM = b"\xef\xbb\xbf"
_NOT_IN_WINDOWS = "\udc81\udc8d\udc8f\udc90\udc9d"  # the bytes 0x81 … as Python reads what is not UTF-8


class Lines:
    """Lines with their ends (LF, CR LF or CR); what is not UTF-8 is raised in its own line.

    `offset` is how many bytes have been read.
    """

    def __init__(self, stream: io.BufferedReader, file: CatalogFile) -> None:
        self.offset = len(_BOM) if stream.peek(len(_BOM)).startswith(_BOM) else 0
        stream.read(self.offset)
        # A strict decoder would fail for a whole buffer, before the good lines in it have been seen.
        self._text = io.TextIOWrapper(cast("IO[bytes]", stream), "utf-8", errors="surrogateescape", newline="")
        self._file = file

    def close(self) -> None:
        """Let go of the stream; who opened it closes it."""
        self._text.detach()

    def __iter__(self) -> Iterator[str]:
        for number, line in enumerate(self._text, 1):
            try:
                self.offset += len(line) if line.isascii() else len(line.encode())
            except UnicodeEncodeError as error:
                place = self.offset + len(line[: error.start].encode())
                source = _encoding_of(line)
                raise CatalogError(
                    f"{self._file} line {number}: byte {place} of the file is not UTF-8; "
                    f"convert the file from the encoding it was saved in, e.g. iconv -f {source} -t utf-8"
                ) from error
            yield line


def _encoding_of(line: str) -> str:
    """Return what a line that is not UTF-8 may be in, its bytes above 0x7F being surrogates.

    Windows has printable characters where Latin-1 has controls (0x80 to 0x9F), and is otherwise the same; so it is
    right for both. Five bytes it has not are letters in DOS' code pages.
    """
    if line.startswith(("\udcff\udcfe", "\udcfe\udcff")):
        return "utf-16"
    return "cp850" if any(byte in line for byte in _NOT_IN_WINDOWS) else "windows-1252"
