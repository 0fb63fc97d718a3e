"""JSON Lines as blocks of rows: one object a line."""

from __future__ import annotations

import json
from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING

from ingest.catalog import exact_numbers
from ingest.catalog.casting import display
from ingest.catalog.rows import TOO_LONG, FileRow, RowBlock, check_columns
from ingest.catalog.text_lines import BLOCK_CELLS, OverlongLine, batch_rows, hold_back_last
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns
    from ingest.catalog.text_lines import Lines

_JSON = json.JSONDecoder(parse_float=exact_numbers.from_json)
_MAX_VALUES, _LONG = 1_000_000, 1 << 20  # a value takes up to 100 bytes of memory for two characters
_HEAD = 100  # lines among which one must have both columns, because JSON Lines has no header


def read(lines: Lines, file: CatalogFile, columns: Columns | None, recorder: CatalogRecorder) -> Iterator[RowBlock]:
    """Yield the lines that are not blank as rows; one of the first must have `columns`, if given.

    Raises CatalogError for a file of 0 bytes, because a file that was not written at all looks like that.
    """

    def check_end(last: FileRow | None) -> FileRow | None:
        fault = recorder.cut_fault(is_ended=lines.is_ended, is_short=False)
        if last is None or not (fault or (last.fault and not lines.is_ended)):
            return last
        recorder.cut.add(file.name, last.line)
        return FileRow(last.line, last.cells, last.fault or fault)

    every = (_row(line, number) for number, line in enumerate(lines, 1) if type(line) is not str or not line.isspace())
    rows = hold_back_last(every, check_end)
    head = [] if columns is None else _read_head(rows, file, columns)
    for batch in batch_rows(chain(head, rows), lines):
        for name, count in Counter(chain.from_iterable(row.cells for row in batch)).items():
            recorder.add_columns([name], count)
        yield from _blocks(batch)
    if not lines.first:
        raise CatalogError(f"{file}: is empty; write it again, or remove it if it has no rows")
    recorder.add_file("JSON Lines", lines)


def _read_head(rows: Iterator[FileRow], file: CatalogFile, columns: Columns) -> list[FileRow]:
    """Return the rows up to the first that has both columns; raises CatalogError if none of the first has them."""
    head: list[FileRow] = []
    for row in islice(rows, _HEAD):
        head.append(row)
        if {columns.product_id, columns.image} <= row.cells.keys():
            break
    if head:
        names = list(dict.fromkeys(name for row in head for name in row.cells))
        if not names:
            fault = head[0].fault or "an empty object"
            raise CatalogError(f"{file} line {head[0].line}: {fault}; one JSON object a line")
        check_columns(names, file, columns)
    return head


def _blocks(rows: list[FileRow]) -> Iterator[RowBlock]:
    """Yield rows, which may have different cells, as one block, or as several if that one would be mostly empty."""
    names = dict.fromkeys(name for row in rows for name in row.cells)
    if len(names) * len(rows) > BLOCK_CELLS and len(rows) > 1:
        middle = len(rows) // 2
        yield from chain(_blocks(rows[:middle]), _blocks(rows[middle:]))
        return
    columns = {name: [row.cells.get(name) for row in rows] for name in names}
    yield RowBlock([row.line for row in rows], columns, {at: row.fault for at, row in enumerate(rows) if row.fault})


def _row(line: str, number: int) -> FileRow:
    if isinstance(line, OverlongLine):
        return FileRow(number, {}, TOO_LONG)
    if len(line) > _LONG and sum(map(line.count, ",[{")) > _MAX_VALUES:
        return FileRow(number, {}, f"the row has more than {_MAX_VALUES:,} values")
    try:
        cells = _JSON.decode(line)
        if "\\ud" in line or "\\uD" in line:
            # An escape may be half of a character ("\ud83d"), which UTF-8 cannot hold.
            json.dumps(cells, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        return FileRow(number, {}, f"not JSON: {error.msg} at column {error.colno}")
    except (ValueError, RecursionError) as error:
        return FileRow(number, {}, f"JSON that cannot be stored: {error}")
    if not isinstance(cells, dict):
        return FileRow(number, {}, f"not a JSON object but {display(cells)}")
    return FileRow(number, cells)
