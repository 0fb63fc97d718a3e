"""The file formats of a catalog, by ending: CSV, TSV, JSON Lines and Parquet. A new format starts here."""

from __future__ import annotations

import gzip
import zlib
from contextlib import closing, nullcontext
from typing import TYPE_CHECKING, BinaryIO, cast

from ingest.catalog import delimited, json_lines, parquet
from ingest.catalog.recorder import CatalogRecorder
from ingest.catalog.text_lines import Lines
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from io import BufferedReader

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns, RowBlock

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_TEXTS = (*_DELIMITERS, ".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")
_ENDINGS = (*_TEXTS, *(f"{text}.gz" for text in _TEXTS), *_PARQUET)


def find_ending(name: str) -> str:
    """Return the ending of a file's name that says its format, such as `.csv` or `.jsonl.gz`; "" if it has none."""
    return next((ending for ending in _ENDINGS if name.lower().endswith(ending)), "")


def format_of(file: CatalogFile) -> str:
    """Return a file's format by its ending, such as `.csv` or `.jsonl.gz`; raises CatalogError if it has none."""
    ending = find_ending(file.name)
    if not ending:
        known = ", ".join((*_TEXTS, *_PARQUET))
        raise CatalogError(f"{file}: unknown ending; a catalog ends in {known} (text also with .gz)")
    return ending


def read(
    file: CatalogFile,
    columns: Columns,
    needs: Callable[[str], bool],
    recorder: CatalogRecorder | None = None,
    *,
    columns_seen: bool = False,
) -> Iterator[RowBlock]:
    """Yield the rows of a file in order, in blocks; from Parquet, only the columns that `needs` returns True for.

    What else the file shows goes to the `recorder`.

    `columns_seen` is whether an earlier file of the catalog had the two columns: a JSON Lines row may leave a column
    out, so not every file has to show both. Raises CatalogError as `reader.read_catalog` documents.
    """
    ending, recorder = format_of(file), recorder or CatalogRecorder()
    if ending in _PARQUET:
        yield from parquet.read(file, columns, needs, recorder)
        return
    text = ending.removesuffix(".gz")
    try:
        with (
            file.open_stream() as raw,
            _unzip(raw) if ending.endswith(".gz") else nullcontext(raw) as stream,
            closing(Lines(stream, file)) as lines,
        ):
            if text in _DELIMITERS:
                yield from delimited.read(lines, _DELIMITERS[text], file, columns, recorder)
            else:
                yield from json_lines.read(lines, file, None if columns_seen else columns, recorder)
    except EOFError as error:
        raise CatalogError(
            f"{file}: cannot be read: it is cut off, for its compressed data has no end; copy it again"
        ) from error
    except (OSError, zlib.error) as error:
        raise CatalogError(f"{file}: cannot be read: {error}") from error


def count_rows(file: CatalogFile) -> int | None:
    """Return about how many rows a file has, or None if that is expensive to find out: zipped or remote text.

    Text is counted by newlines, so quoted newlines and blank lines count too. Parquet notes the number.
    """
    ending = format_of(file)
    if ending in _PARQUET:
        return parquet.count_rows(file)
    if ending.endswith(".gz") or not file.is_local:
        return None
    with file.open_seekable() as stream:
        return max(0, _count_lines(stream) - (ending in _DELIMITERS))


def _unzip(stream: BufferedReader) -> BufferedReader:
    if len(stream.peek(2)) == 1:  # half of gzip's first two bytes
        raise EOFError
    return cast("BufferedReader", gzip.GzipFile(fileobj=stream))


def _count_lines(stream: BinaryIO) -> int:
    count, last = 0, b"\n"
    while chunk := stream.read(1 << 20):
        count += chunk.count(b"\n")
        last = chunk[-1:]
    return count + (last != b"\n")
