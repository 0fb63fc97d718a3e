"""A catalog's file as rows: CSV, TSV, JSON Lines and Parquet, read as a stream."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import cache
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, TypeVar, cast

from ingest.catalog import arrow, csv_parser, exact_numbers, files
from ingest.catalog.casting import display
from ingest.catalog.files import DELIMITERS, PARQUET, CatalogFile, kind_of
from ingest.catalog.text_lines import Lines
from ingest.core.errors import CatalogError, InputError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from io import BufferedReader
    from pathlib import Path

T = TypeVar("T")

log = logging.getLogger(__name__)

_JSON = json.JSONDecoder(parse_float=exact_numbers.from_json)
_JSON_HEAD = 100  # JSON Lines has no header: so many lines may pass before one has both columns
_PARQUET_BUFFER = 1 << 20  # bytes a column: 192 MB in one row group take 12 MB, not 203
_PARQUET_BATCH = 1_024  # rows: pictures as bytes in some column must fit into memory, too
_ROWS, _CELLS, _BYTES = 1_024, 65_536, 1 << 18  # the most a block of text has; one row may be more, alone
_FOOTERS = 8  # read from a storage, two requests each, for the sake of an estimate


@dataclass(frozen=True, slots=True)
class Columns:
    """What the catalog itself calls the column of the ids and the column of the pictures."""

    product_id: str = "product_id"
    image: str = "image"


class FileRow(NamedTuple):
    """A row as its file has it; `fault` says what is wrong with it as a row, before any cell is looked at."""

    line: int
    cells: dict[str, Any]
    fault: str = ""


class RowBlock(NamedTuple):
    """Rows that follow one another in a file, by columns, with None where a row has no such cell; faults by place."""

    lines: list[int]
    columns: Mapping[str, Sequence[Any]]
    faults: dict[int, str]

    def column(self, name: str) -> Sequence[Any]:
        """Return the cells under a name, which the file need not have."""
        return self.columns.get(name) or [None] * len(self.lines)

    def row(self, at: int) -> FileRow:
        """Return the row at a place."""
        return FileRow(
            self.lines[at], {name: column[at] for name, column in self.columns.items()}, self.faults.get(at, "")
        )


def estimate(catalog: Path | str) -> int | None:
    """Return about how many products a catalog holds, or None where that cannot be told cheaply.

    Text is counted by its newlines, so that quoted newlines and blank lines count, too; Parquet knows. Of a storage,
    only the latter is asked, and of few files. What cannot be read is None here; `read` says what is wrong with it.
    """
    try:
        parts = files.list_files(catalog)
        near = len(parts) <= _FOOTERS or all(part.is_local for part in parts)
        counts = [_count(part) if near else None for part in parts]
    except (InputError, OSError, ValueError):
        return None
    return None if None in counts else sum(filter(None, counts))


def _count(file: CatalogFile) -> int | None:
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


def read(
    file: CatalogFile, columns: Columns, needs: Callable[[str], bool], *, known: bool = False
) -> Iterator[RowBlock]:
    """Yield the rows of a file in order, some at a time; of Parquet, only the columns that `needs` says yes to.

    `known` is whether a file before has shown the two columns: JSON Lines leave out what a row has not, and need not
    show them in each. Raises CatalogError as `reader.read_catalog` documents.
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
            closing(Lines(stream, file)) as lines,
        ):
            if text in DELIMITERS:
                yield from _delimited(lines, DELIMITERS[text], file, columns)
            else:
                yield from _json_lines(lines, file, None if known else columns)
    except (OSError, EOFError, zlib.error) as error:
        raise CatalogError(f"{file}: cannot be read: {error}") from error


def _unzipped(stream: BufferedReader) -> BufferedReader:
    return cast("BufferedReader", gzip.GzipFile(fileobj=stream))


def _delimited(lines: Lines, delimiter: str, file: CatalogFile, columns: Columns) -> Iterator[RowBlock]:
    rows = csv_parser.records(lines, delimiter)
    header = next(rows, None)
    if header is None:
        raise CatalogError(f"{file}: is empty; its first line must name the columns")
    if header.fault:
        raise CatalogError(f"{file} line {header.line}: {header.fault}; this line must name the columns")
    names = [name.strip() for name in header.cells]
    _check_columns(names, file, columns)
    needed = 1 + max(names.index(columns.product_id), names.index(columns.image))
    for batch in _batches(rows, lines, _CELLS // len(names)):
        numbers, found, faulty = zip(*batch, strict=True)
        faults = {at: fault for at, fault in enumerate(faulty) if fault}
        table: list[list[Any]] = list(found)
        for at in [at for at, row in enumerate(table) if len(row) != len(names)]:
            count = len(table[at])
            if count > len(names):
                faults[at] = f"{count} cells under a header of {len(names)}; a cell with {delimiter!r} needs quotes"
            elif count < needed:
                faults.setdefault(at, f"{count} cells end before the id and the image; the header has {len(names)}")
            table[at] = [*table[at][: len(names)], *[None] * (len(names) - count)]
        yield RowBlock(list(numbers), dict(zip(names, zip(*table, strict=True), strict=True)), faults)


def _batches(rows: Iterable[T], lines: Lines, most: int = _ROWS) -> Iterator[list[T]]:
    """Yield lists of at most `most` rows and some 256 kB; those before an error come before it."""
    batch: list[T] = []
    most, full = min(most, _ROWS), lines.offset + _BYTES
    try:
        for row in rows:
            batch.append(row)
            if len(batch) >= most or lines.offset >= full:
                yield batch
                batch, full = [], lines.offset + _BYTES
    except Exception:
        if batch:
            yield batch
        raise
    if batch:
        yield batch


def _json_lines(lines: Lines, file: CatalogFile, columns: Columns | None) -> Iterator[RowBlock]:
    """Yield the lines that are not blank as rows; `columns`, if any, must be in one of the first."""
    rows = (_json_row(line, number) for number, line in enumerate(lines, 1) if not line.isspace())
    head: list[FileRow] = []
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
    for batch in _batches(chain(head, rows), lines):
        yield from _tables(batch)


def _tables(rows: list[FileRow]) -> Iterator[RowBlock]:
    """Yield rows, whose cells may have any names, as one table, or as several where that one would be mostly empty."""
    names = dict.fromkeys(name for row in rows for name in row.cells)
    if len(names) * len(rows) > _CELLS and len(rows) > 1:
        middle = len(rows) // 2
        yield from chain(_tables(rows[:middle]), _tables(rows[middle:]))
        return
    columns = {name: [row.cells.get(name) for row in rows] for name in names}
    yield RowBlock([row.line for row in rows], columns, {at: row.fault for at, row in enumerate(rows) if row.fault})


def _json_row(line: str, number: int) -> FileRow:
    try:
        cells = _JSON.decode(line)
        if "\\ud" in line or "\\uD" in line:
            # An escape may spell half a character ("\ud83d"), which no UTF-8 holds.
            json.dumps(cells, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return FileRow(number, {}, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return FileRow(number, {}, f"not JSON that can be kept: {error}")
    if not isinstance(cells, dict):
        return FileRow(number, {}, f"not a JSON object but {display(cells)}")
    return FileRow(number, cells)


def _parquet(file: CatalogFile, columns: Columns, needs: Callable[[str], bool]) -> Iterator[RowBlock]:
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
            for name, zone in arrow.unknown_zones(table.schema_arrow, wanted).items():
                _warn_of_zone(zone, name)
            for batch in table.iter_batches(_PARQUET_BATCH, columns=wanted):
                values = list(map(arrow.values, batch.columns))
                first, row = row + 1, row + batch.num_rows
                if batch.num_rows:
                    yield RowBlock(list(range(first, row + 1)), dict(zip(batch.schema.names, values, strict=True)), {})
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        place = f"{file} after row {row}" if row else f"{file}"
        cause = " ".join(str(error).split())
        raise CatalogError(f"{place}: not Parquet that can be read: {cause}") from error


@cache  # once, however many files have such a column
def _warn_of_zone(zone: str, column: str) -> None:
    log.warning(
        "this machine has no data of the time zone %s, so %s is kept in UTC; pip install tzdata",
        display(zone),
        display(column),
    )


def _check_columns(names: list[str], file: CatalogFile, columns: Columns) -> None:
    """Raise CatalogError where a name stands twice or one of the two columns is not there."""
    seen: set[str] = set()
    for name in filter(None, names):  # spreadsheets write empty columns; nothing can be kept under no name
        if name in seen:
            raise CatalogError(f"{file}: two columns are called {display(name)}; rename one")
        seen.add(name)
    for option, name in (("--id-column", columns.product_id), ("--image-column", columns.image)):
        if name not in seen:
            present = ", ".join(display(present) for present in names[:20]) + (", …" if len(names) > 20 else "")
            raise CatalogError(
                f"{file}: no column {display(name)}; the columns are {present}; say which with {option} NAME"
            )
