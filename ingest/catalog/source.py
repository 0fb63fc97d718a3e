"""A file of a catalog as a reader of a format gets it: its first bytes, and the stream that unzips it."""

from __future__ import annotations

import codecs
import gzip
import zlib
from contextlib import contextmanager
from functools import cached_property
from typing import TYPE_CHECKING, cast

from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

    from ingest.catalog.base import CatalogFile

HEAD = 1 << 20
"""Bytes that are looked at to recognise how a file is written."""
_START = 1 << 16
_WIDE = ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_GZIP = b"\x1f\x8b"


class CatalogSource:
    """A file with its ending, such as `.csv.gz`; `is_first` unless an earlier file of the catalog had rows."""

    def __init__(self, file: CatalogFile, ending: str, *, is_first: bool = True) -> None:
        self.file = file
        self.ending = ending
        self.is_first = is_first

    def __str__(self) -> str:
        return str(self.file)

    @cached_property
    def head(self) -> bytes:
        """The first bytes, unzipped."""
        with self.open() as stream:
            return stream.read(HEAD)

    @cached_property
    def text(self) -> str:
        """The beginning of the first bytes as text, without spaces before it."""
        start = self.head[:_START]
        wide = next((codec for bom, codec in _WIDE if start.startswith(bom)), "utf-8-sig")
        return start.decode(wide, "ignore").lstrip()

    @contextmanager
    def open(self) -> Iterator[BufferedReader]:
        """Open the file for reading, and unzip it; raises CatalogError for what cannot be read."""
        try:
            with self.file.open_stream() as raw:
                zipped = self.ending.endswith(".gz") or raw.peek(len(_GZIP))[: len(_GZIP)] == _GZIP
                yield _unzip(raw) if zipped else raw
        except EOFError as error:
            raise CatalogError(
                f"{self.file}: cannot be read: it is cut off, for its compressed data has no end; copy it again"
            ) from error
        except (OSError, zlib.error) as error:
            raise CatalogError(f"{self.file}: cannot be read: {error}") from error


def _unzip(stream: BufferedReader) -> BufferedReader:
    if len(stream.peek(2)) == 1:  # half of gzip's first two bytes
        raise EOFError
    return cast("BufferedReader", gzip.GzipFile(fileobj=stream))
