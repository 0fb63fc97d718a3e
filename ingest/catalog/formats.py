"""A catalog file as rows: CSV, TSV, JSON Lines and Parquet, read as a stream."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zlib
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice
from typing import IO, TYPE_CHECKING, Any, NamedTuple, cast

from ingest.catalog.cells import shown
from ingest.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator
    from pathlib import Path

_DELIMITERS = {".csv": ",", ".tsv": "\t", ".tab": "\t"}
_JSON_LINES = (".jsonl", ".ndjson")
_PARQUET = (".parquet", ".pq")

_BOM = b"\xef\xbb\xbf"
_LONGEST_CELL = 16 << 20  # characters: a quote that is never closed ends here and not when memory does
_JSON_HEAD = 100  # JSON Lines has no header: so many lines may pass before one has both columns
_PARQUET_BUFFER = 1 << 20  # bytes a column: 192 MB in one row group take 12 MB, not 203
_PARQUET_BATCH = 1_024  # rows: pictures as bytes in some column must fit into memory, too


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


def estimate(path: Path) -> int | None:
    """Return about how many products `path` holds, or None where that cannot be told cheaply.

    Text is counted by its newlines, so that quoted newlines and blank lines count, too; Parquet knows.
    A file that cannot be read is None here; `read` says what is wrong with it.
    """
    try:
        kind = kind_of(path)
        if not path.is_file() or kind.endswith(".gz"):
            return None
        if kind in _PARQUET:
            from pyarrow import parquet

            return int(parquet.read_metadata(path).num_rows)
        return max(0, _count_lines(path) - (kind in _DELIMITERS))
    except (CatalogError, OSError, ValueError):
        return None


def _count_lines(path: Path) -> int:
    count, last = 0, b"\n"
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(1 << 20):
            count += chunk.count(b"\n")
            last = chunk[-1:]
    return count + (last != b"\n")


def kind_of(path: Path) -> str:
    """Return the ending that tells the format, such as `.csv` or `.jsonl.gz`."""
    name = path.name.lower()
    texts = (*_DELIMITERS, *_JSON_LINES)
    for ending in (*texts, *(f"{text}.gz" for text in texts), *_PARQUET):
        if name.endswith(ending):
            return ending
    known = ", ".join((*texts, *_PARQUET))
    raise CatalogError(f"{path}: unknown ending; a catalog ends in {known} (text also with .gz)")


def read_rows(path: Path, columns: Columns, needs: Callable[[str], bool]) -> Iterator[Row]:
    """Yield the rows of `path` in order; of Parquet, only the columns that `needs` says yes to.

    Raises CatalogError as `rows.read` documents.
    """
    kind = kind_of(path)
    if kind in _PARQUET:
        yield from _parquet(path, columns, needs)
        return
    text, opened = kind.removesuffix(".gz"), gzip.open if kind.endswith(".gz") else open
    try:
        with cast("io.BufferedReader", opened(path, "rb")) as stream, closing(_lines(stream, path)) as lines:
            if text in _DELIMITERS:
                yield from _delimited(lines, _DELIMITERS[text], path, columns)
            else:
                yield from _json_lines(lines, path, columns)
    except (OSError, EOFError, zlib.error) as error:
        raise CatalogError(f"{path}: cannot be read: {error}") from error


def _lines(stream: io.BufferedReader, path: Path) -> Generator[str, None, None]:
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
                    f"{path} line {number}: byte {place} of the file is not UTF-8; "
                    f"convert the file, e.g. iconv -f {source} -t utf-8"
                ) from error
            yield line
    finally:
        text.detach()  # who opened the stream closes it


def _delimited(lines: Iterable[str], delimiter: str, path: Path, columns: Columns) -> Iterator[Row]:
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
                _check_columns(names, path, columns)
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
            f"{path} line {end + 1}: {error}; the row that begins there has a quote that is not closed, "
            'or one inside a cell that is not doubled ("")'
        ) from error
    if not names:
        raise CatalogError(f"{path}: is empty; its first line must name the columns")


def _json_lines(lines: Iterable[str], path: Path, columns: Columns) -> Iterator[Row]:
    rows = (_json_row(line, number) for number, line in enumerate(lines, 1) if not line.isspace())
    head: list[Row] = []
    for row in islice(rows, _JSON_HEAD):
        head.append(row)
        if {columns.product_id, columns.image} <= row.cells.keys():
            break
    if not head:
        raise CatalogError(f"{path}: is empty, it has no products")
    names = list(dict.fromkeys(name for row in head for name in row.cells))
    if not names:
        raise CatalogError(f"{path} line {head[0].line}: {head[0].fault or 'an empty object'}; one JSON object a line")
    _check_columns(names, path, columns)
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


def _parquet(path: Path, columns: Columns, needs: Callable[[str], bool]) -> Iterator[Row]:
    import pyarrow as pa
    from pyarrow import parquet

    row = 0
    try:
        # Left to itself pyarrow holds a whole row group, which is often the whole file.
        with parquet.ParquetFile(path, pre_buffer=False, buffer_size=_PARQUET_BUFFER) as file:
            names = file.schema_arrow.names
            _check_columns(names, path, columns)
            wanted = [name for name in names if needs(name)]
            for batch in file.iter_batches(_PARQUET_BATCH, columns=wanted):
                values = [column.to_pylist() for column in batch.columns]
                for cells in zip(*values, strict=True):
                    row += 1
                    yield Row(row, dict(zip(batch.schema.names, cells, strict=True)))
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        place = f"{path} after row {row}" if row else f"{path}"
        cause = " ".join(str(error).split())
        raise CatalogError(f"{place}: not Parquet that can be read: {cause}") from error


def _check_columns(names: list[str], path: Path, columns: Columns) -> None:
    """Raise CatalogError where a name stands twice or one of the two columns is not there."""
    seen: set[str] = set()
    for name in filter(None, names):  # spreadsheets write empty columns; nothing can be kept under no name
        if name in seen:
            raise CatalogError(f"{path}: two columns are called {shown(name)}; rename one")
        seen.add(name)
    for option, name in (("--id-column", columns.product_id), ("--image-column", columns.image)):
        if name not in seen:
            present = ", ".join(shown(present) for present in names[:20]) + (", …" if len(names) > 20 else "")
            raise CatalogError(
                f"{path}: no column {shown(name)}; the columns are {present}; say which with {option} NAME"
            )
