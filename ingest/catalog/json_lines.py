"""JSON Lines as blocks of rows: one object a line."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING, Any

from ingest.catalog import exact_numbers
from ingest.catalog.casting import display
from ingest.catalog.encoding import examine
from ingest.catalog.row_blocks import blocks_of
from ingest.catalog.rows import TOO_LONG, FileRow
from ingest.catalog.text_lines import Lines, OverlongLine, count_lines, hold_back_last
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns, RowBlock
    from ingest.catalog.source import CatalogSource

NAMES = ("jsonl",)
ENDINGS = (".jsonl", ".ndjson")
IS_TEXT = True

DECODER = json.JSONDecoder(parse_float=exact_numbers.from_json)
"""Reads numbers without loss."""
_MAX_VALUES, _LONG = 1_000_000, 1 << 20  # a value takes up to 100 bytes of memory for two characters


def recognises(source: CatalogSource) -> bool:
    """Return whether a file begins with an object."""
    return source.text.startswith("{")


def read(
    source: CatalogSource, columns: Columns, _needs: Callable[[str], bool], recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the lines that are not blank as rows; in a catalog's first file one of the first must have the columns.

    Raises CatalogError for a file of 0 bytes, because a file that was not written at all looks like that.
    """
    encoding = examine(source, columns.options, may_be_code_page=False).encoding
    with source.open() as stream, closing(Lines(stream, source.file, encoding)) as lines:
        yield from _read(lines, source, columns, recorder)


def count_rows(file: CatalogFile) -> int | None:
    """Return the number of lines, blank ones included."""
    return count_lines(file)


def decode(text: str) -> Any:
    """Return JSON as values, numbers without loss; raises ValueError or RecursionError for what cannot be stored."""
    value = DECODER.decode(text)
    if "\\ud" in text or "\\uD" in text:
        # An escape may be half of a character ("\ud83d"), which UTF-8 cannot hold.
        json.dumps(value, ensure_ascii=False).encode()
    return value


def _read(lines: Lines, source: CatalogSource, columns: Columns, recorder: CatalogRecorder) -> Iterator[RowBlock]:
    file = source.file

    def check_end(last: FileRow | None) -> FileRow | None:
        fault = recorder.cut_fault(is_ended=lines.is_ended, is_short=False)
        if last is None or not (fault or (last.fault and not lines.is_ended)):
            return last
        recorder.cut.add(file.name, last.line)
        return FileRow(last.line, last.cells, last.fault or fault)

    every = (_row(line, number) for number, line in enumerate(lines, 1) if type(line) is not str or not line.isspace())
    yield from blocks_of(hold_back_last(every, check_end), lines, source, columns, recorder)
    if not lines.first:
        raise CatalogError(f"{file}: is empty; write it again, or remove it if it has no rows")
    recorder.add_file("JSON Lines", lines)


def _row(line: str, number: int) -> FileRow:
    if isinstance(line, OverlongLine) or (len(line) > _LONG and sum(map(line.count, ",[{")) > _MAX_VALUES):
        many = f"the row has more than {_MAX_VALUES:,} values"
        return FileRow(number, {}, TOO_LONG if isinstance(line, OverlongLine) else many)
    try:
        cells = decode(line)
    except json.JSONDecodeError as error:
        if error.msg == "Extra data" and line[error.pos :].strip() == ",":  # an array's lines without its brackets
            return _row(line.rstrip().removesuffix(","), number)
        return FileRow(number, {}, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return FileRow(number, {}, f"JSON that cannot be stored: {error}")
    if not isinstance(cells, dict):
        return FileRow(number, {}, f"not a JSON object but {display(cells)}")
    return FileRow(number, cells)
