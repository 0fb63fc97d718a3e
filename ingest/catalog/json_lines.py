"""JSON Lines as blocks of rows: one object a line."""

from __future__ import annotations

import json
from itertools import chain, islice
from typing import TYPE_CHECKING

from ingest.catalog import exact_numbers
from ingest.catalog.casting import display
from ingest.catalog.rows import FileRow, RowBlock, check_columns
from ingest.catalog.text_lines import BLOCK_CELLS, batch_rows
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns
    from ingest.catalog.text_lines import Lines

_JSON = json.JSONDecoder(parse_float=exact_numbers.from_json)
_HEAD = 100  # lines among which one must have both columns, because JSON Lines has no header


def read(lines: Lines, file: CatalogFile, columns: Columns | None) -> Iterator[RowBlock]:
    """Yield the lines that are not blank as rows; one of the first must have `columns`, if given."""
    rows = (_row(line, number) for number, line in enumerate(lines, 1) if not line.isspace())
    head = [] if columns is None else _read_head(rows, file, columns)
    for batch in batch_rows(chain(head, rows), lines):
        yield from _blocks(batch)


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
