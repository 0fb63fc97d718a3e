"""CSV and TSV as blocks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.catalog import csv_parser
from ingest.catalog.rows import RowBlock, check_columns
from ingest.catalog.text_lines import BLOCK_CELLS, batch_rows, hold_back_last
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.csv_parser import CsvRecord
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns
    from ingest.catalog.text_lines import Lines

_KINDS = {",": "CSV", "\t": "TSV"}


def read(
    lines: Lines, delimiter: str, file: CatalogFile, columns: Columns, recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the rows below the header; one with too many or too few cells, or in which the file ends, has a fault."""
    records = csv_parser.records(lines, delimiter)
    header = next(records, None)
    if header is None:
        raise CatalogError(f"{file}: is empty; its first line must name the columns")
    if header.fault:
        raise CatalogError(f"{file} line {header.line}: {header.fault}; this line must name the columns")
    names = [name.strip() for name in header.cells]
    check_columns(names, file, columns)
    width, id_at = len(names), names.index(columns.product_id)
    needed = 1 + max(id_at, names.index(columns.image))

    def check_end(last: CsvRecord | None) -> CsvRecord | None:
        fault = recorder.cut_fault(
            is_ended=lines.is_ended, is_short=last is not None and not last.fault and len(last.cells) < width
        )
        if fault and last is None:
            raise CatalogError(f"{file}: is cut off within its first line; run again when the file is complete")
        if not fault or last is None or last.fault:
            return last
        recorder.cut.add(file.name, last.line)
        return last._replace(fault=fault)

    for batch in batch_rows(hold_back_last(records, check_end), lines, BLOCK_CELLS // width):
        faults = {at: record.fault for at, record in enumerate(batch) if record.fault}
        table: list[list[Any]] = [record.cells for record in batch]
        for at in [at for at, row in enumerate(table) if len(row) != width]:
            count = len(table[at])
            if fault := _describe_width(count, width, needed, delimiter):
                faults.setdefault(at, fault)
            elif at not in faults:
                recorder.short.add(file.name, batch[at].line)
            table[at] = [*table[at][:width], *[None] * (width - count)]
        recorder.add_columns(names, len(batch))
        doubts = {at: _doubt(record, id_at, file, recorder) for at, record in enumerate(batch) if record.inner}
        cells = dict(zip(names, zip(*table, strict=True), strict=True))
        yield RowBlock([record.line for record in batch], cells, faults, doubts)
    recorder.add_columns(names, 0)
    recorder.add_file(_KINDS[delimiter], lines)


def _describe_width(count: int, width: int, needed: int, delimiter: str) -> str:
    """Return what is wrong with a number of cells, or ""; the last ones may be missing."""
    if count > width:
        return f"{count} cells under a header of {width}; a cell with {delimiter!r} needs quotes"
    return f"only {count} of {width} cells, too few for the id and the image" if count < needed else ""


def _doubt(record: CsvRecord, id_at: int, file: CatalogFile, recorder: CatalogRecorder) -> str:
    """Record the lines of a row that may be rows of their own, and return a sentence about them."""
    last = record.line + record.lines - 1
    recorder.swallowing.add(file.name, record.line, last)
    recorder.add_inner(cells[id_at].strip() for _, cells in record.inner)
    count = len(record.inner)
    inner = "1 of them looks like a row of its own" if count == 1 else f"{count:,} of them look like rows of their own"
    return f'the row takes lines {record.line} to {last}, and {inner}; a " may be missing'
