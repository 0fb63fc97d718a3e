"""A catalog's file as rows: CSV, TSV, JSON Lines and Parquet, read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from contextlib import closing, nullcontext
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from ingest.catalog import files
from ingest.catalog.cells import shown
from ingest.catalog.files import DELIMITERS, PARQUET, File, kind_of
from ingest.errors import CatalogError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

_BOM = b"\xef\xbb\xbf"
_LONGEST_CELL = 16 << 20  # characters: a quote that is never closed ends here and not when memory does
_JSON_HEAD = 100  # JSON Lines has no header: so many lines may pass before one has both columns
_PARQUET_BUFFER = 1 << 20  # bytes a column: 192 MB in one row group take 12 MB, not 203
_PARQUET_BATCH = 1_024  # rows: pictures as bytes in some column must fit into memory, too
_FOOTERS = 8  # read from a storage, two requests each, for the sake of an estimate


@dataclass(frozen=True, slots=True)
class Columns:
    """What the catalog itself calls the column of the ids and the column of the pictures."""

    product_id: str = "product_id"
    image: str = "image"


class Row(NamedTuple):
    """A row as its file has it; `fault` says what is wrong with it as a row, before any cell is looked at."""

    line: int
    cells: dict[str, Any]
    fault: str = ""


def estimate(catalog: Path | str) -> int | None:
    """Return about how many products a catalog holds, or None where that cannot be told cheaply.

    Text is counted by its newlines, so that quoted newlines and blank lines count, too; Parquet knows. Of a storage,
    only the latter is asked, and of few files. What cannot be read is None here; `read` says what is wrong with it.
    """
    try:
        parts = files.of(catalog)
        near = len(parts) <= _FOOTERS or all(part.is_local for part in parts)
        counts = [_count(part) if near else None for part in parts]
    except (InputError, OSError, ValueError):
        return None
    return None if None in counts else sum(filter(None, counts))


def _count(file: File) -> int | None:
    kind = kind_of(file)
    if kind in PARQUET:
        from pyarrow import parquet

        with file.seekable() as stream:
            return int(parquet.read_metadata(stream).num_rows)
    if kind.endswith(".gz") or not file.is_local:
        return None
    with file.seekable() as stream:
        return max(0, _count_lines(stream) - (kind in DELIMITERS))


def _count_lines(stream: BinaryIO) -> int:
    count, last = 0, b"\n"
    while chunk := stream.read(1 << 20):
        count += chunk.count(b"\n")
        last = chunk[-1:]
    return count + (last != b"\n")


def read_rows(file: File, columns: Columns, needs: Callable[[str], bool], *, known: bool = False) -> Iterator[Row]:
    """Yield the rows of a file in order; of Parquet, only the columns that `needs` says yes to.

    `known` is whether a file before has shown the two columns: JSON Lines leave out what a row has not, and need not
    show them in each. Raises CatalogError as `rows.read` documents.
    """
    kind = kind_of(file)
    if kind in PARQUET:
        yield from _parquet(file, columns, needs)
        return
    text = kind.removesuffix(".gz")
    try:
        with (
            file.streamed() as raw,
            _unzipped(raw) if kind.endswith(".gz") else nullcontext(raw) as stream,
            closing(_lines(stream, file)) as lines,
        ):
            if text in DELIMITERS:
                yield from _delimited(lines, DELIMITERS[text], file, columns)
            else:
                yield from _json_lines(lines, file, None if known else columns)
    except (OSError, EOFError, zlib.error) as error:
        raise CatalogError(f"{file}: cannot be read: {error}") from error


def _unzipped(stream: io.BufferedReader) -> io.BufferedReader:
    return cast("io.BufferedReader", gzip.GzipFile(fileobj=stream))


def _lines(stream: io.BufferedReader, file: File) -> Generator[str, None, None]:
    """Yield lines with their ends (LF, CR LF or CR); what is not UTF-8 is raised in its own line."""
    # A strict decoder would fail for a whole buffer, before the good lines in it have been seen.
    offset = len(_BOM) if stream.peek(len(_BOM)).startswith(_BOM) else 0
    stream.read(offset)
    text = io.TextIOWrapper(cast("IO[bytes]", stream), "utf-8", errors="surrogateescape", newline="")
    try:
        for number, line in enumerate(text, 1):
            try:
                offset += len(line) if line.isascii() else len(line.encode())
            except UnicodeEncodeError as error:
                place = offset + len(line[: error.start].encode())
                source = "utf-16" if line.startswith(("\udcff\udcfe", "\udcfe\udcff")) else "latin1"
                raise CatalogError(
                    f"{file} line {number}: byte {place} of the file is not UTF-8; "
                    f"convert the file, e.g. iconv -f {source} -t utf-8"
                ) from error
            yield line
    finally:
        text.detach()  # who opened the stream closes it


def _delimited(lines: Iterable[str], delimiter: str, file: File, columns: Columns) -> Iterator[Row]:
    csv.field_size_limit(max(csv.field_size_limit(), _LONGEST_CELL))
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    names: list[str] = []
    end = needed = 0
    try:
        for row in reader:
            line, end = end + 1, reader.line_num
            if not row or (len(row) == 1 and not row[0].strip()):
                continue
            if not names:
                names = [name.strip() for name in row]
                _check_columns(names, file, columns)
                needed = 1 + max(names.index(columns.product_id), names.index(columns.image))
                continue
            fault = ""
            if len(row) > len(names):
                fault = f"{len(row)} cells under a header of {len(names)}; a cell with {delimiter!r} needs quotes"
            elif len(row) < needed:
                fault = f"{len(row)} cells end before the id and the image; the header has {len(names)}"
            yield Row(line, dict(zip(names, row, strict=False)), fault)
    except csv.Error as error:
        raise CatalogError(
            f"{file} line {end + 1}: {error}; the row that begins there has a quote that is not closed, "
            'or one inside a cell that is not doubled ("")'
        ) from error
    if not names:
        raise CatalogError(f"{file}: is empty; its first line must name the columns")


def _json_lines(lines: Iterable[str], file: File, columns: Columns | None) -> Iterator[Row]:
    """Yield a row for each line that is not blank; `columns`, if any, must be in one of the first."""
    rows = (_json_row(line, number) for number, line in enumerate(lines, 1) if not line.isspace())
    head: list[Row] = []
    if columns is not None:
        for row in islice(rows, _JSON_HEAD):
            head.append(row)
            if {columns.product_id, columns.image} <= row.cells.keys():
                break
    if columns is not None and head:
        names = list(dict.fromkeys(name for row in head for name in row.cells))
        if not names:
            fault = head[0].fault or "an empty object"
            raise CatalogError(f"{file} line {head[0].line}: {fault}; one JSON object a line")
        _check_columns(names, file, columns)
    yield from chain(head, rows)


def _json_row(line: str, number: int) -> Row:
    try:
        cells = json.loads(line)
        if "\\ud" in line or "\\uD" in line:
            # An escape may spell half a character ("\ud83d"), which no UTF-8 holds.
            json.dumps(cells, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return Row(number, {}, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return Row(number, {}, f"not JSON that can be kept: {error}")
    if not isinstance(cells, dict):
        return Row(number, {}, f"not a JSON object but {shown(cells)}")
    return Row(number, cells)


def _parquet(file: File, columns: Columns, needs: Callable[[str], bool]) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    row = 0
    try:
        # Left to itself pyarrow holds a whole row group, which is often the whole file.
        with (
            file.seekable() as stream,
            parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_PARQUET_BUFFER) as table,
        ):
            names = table.schema_arrow.names
            _check_columns(names, file, columns)
            wanted = [name for name in names if needs(name)]
            for batch in table.iter_batches(_PARQUET_BATCH, columns=wanted):
                values = [column.to_pylist() for column in batch.columns]
                for cells in zip(*values, strict=True):
                    row += 1
                    yield Row(row, dict(zip(batch.schema.names, cells, strict=True)))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        place = f"{file} after row {row}" if row else f"{file}"
        cause = " ".join(str(error).split())
        raise CatalogError(f"{place}: not Parquet that can be read: {cause}") from error


def _check_columns(names: list[str], file: File, columns: Columns) -> None:
    """Raise CatalogError where a name stands twice or one of the two columns is not there."""
    seen: set[str] = set()
    for name in filter(None, names):  # spreadsheets write empty columns; nothing can be kept under no name
        if name in seen:
            raise CatalogError(f"{file}: two columns are called {shown(name)}; rename one")
        seen.add(name)
    for option, name in (("--id-column", columns.product_id), ("--image-column", columns.image)):
        if name not in seen:
            present = ", ".join(shown(present) for present in names[:20]) + (", …" if len(names) > 20 else "")
            raise CatalogError(
                f"{file}: no column {shown(name)}; the columns are {present}; say which with {option} NAME"
            )
