"""Rows that may have different cells, as blocks: of formats without a header."""

from __future__ import annotations

from collections import Counter
from itertools import chain, islice
from typing import TYPE_CHECKING

from ingest.catalog import tables
from ingest.catalog.rows import FileRow, RowBlock, check_columns
from ingest.catalog.text_lines import BLOCK_CELLS, batch_rows
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns
    from ingest.catalog.source import CatalogSource
    from ingest.catalog.text_lines import HasOffset

_HEAD = 100  # rows among which one must have both columns


def blocks_of(
    rows: Iterator[FileRow], offset: HasOffset, source: CatalogSource, columns: Columns, recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield rows in blocks; in a catalog's first file one of the first rows must have the columns.

    Rows of a known feed get our names, and so do those of the files after it.
    """
    memory = columns.options.memory
    head: list[FileRow] = []
    if source.is_first:
        head, memory.renames = _read_head(rows, source, columns)
    for batch in batch_rows(chain(head, rows), offset):
        named = [_rename(row, memory.renames) for row in batch] if memory.renames else batch
        for name, count in Counter(chain.from_iterable(row.cells for row in named)).items():
            recorder.add_columns([name], count)
        yield from _blocks(named)


def _read_head(
    rows: Iterator[FileRow], source: CatalogSource, columns: Columns
) -> tuple[list[FileRow], dict[str, str]]:
    """Return the rows up to the first that has both columns, and new names; raises CatalogError if none has them."""
    head: list[FileRow] = []
    names: dict[str, None] = {}
    for row in islice(rows, _HEAD):
        head.append(row)
        names.update(dict.fromkeys(row.cells))
        if {columns.product_id, columns.image} <= row.cells.keys():
            return head, {}
    if not head:
        return head, {}
    if not names:
        fault = head[0].fault or "an empty object"
        raise CatalogError(f"{source} line {head[0].line}: {fault}; one JSON object a line")
    header = tables.read_header(list(names), source.file, columns)
    check_columns(header.names, source.file, columns)
    return head, {old: new for old, new in zip(names, header.names, strict=True) if old != new}


def _rename(row: FileRow, renames: dict[str, str]) -> FileRow:
    return row._replace(cells={renames.get(name, name): cell for name, cell in row.cells.items()})


def _blocks(rows: list[FileRow]) -> Iterator[RowBlock]:
    """Yield rows as one block, or as several if that one would be mostly empty."""
    names = dict.fromkeys(name for row in rows for name in row.cells)
    if len(names) * len(rows) > BLOCK_CELLS and len(rows) > 1:
        middle = len(rows) // 2
        yield from chain(_blocks(rows[:middle]), _blocks(rows[middle:]))
        return
    columns = {name: [row.cells.get(name) for row in rows] for name in names}
    yield RowBlock([row.line for row in rows], columns, {at: row.fault for at, row in enumerate(rows) if row.fault})
