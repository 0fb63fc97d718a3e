"""CSV and TSV as blocks of rows."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Any

from ingest.catalog import csv_parser, dialect, tables
from ingest.catalog.rows import RowBlock, check_columns
from ingest.catalog.text_lines import BLOCK_CELLS, Lines, batch_rows, count_lines, hold_back_last
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.csv_parser import CsvRecord
    from ingest.catalog.dialect import Dialect
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns
    from ingest.catalog.source import CatalogSource

NAMES = ("csv", "tsv", *(table.NAME for table in tables.TABLES))
ENDINGS = (".csv", ".tsv", ".tab", ".txt")
IS_TEXT = True

_TABS = (".tsv", ".tab")


def recognises(_source: CatalogSource) -> bool:
    """Return False: any text may be a table, and is one if it is nothing else."""
    return False


def is_table(source: CatalogSource, columns: Columns) -> bool:
    """Return whether the first line names the columns as the ending of the file says they are written."""
    header = dialect.read_names(source.text, _usual(source))
    return tables.fit(header, columns) == tables.EXACT


def count_rows(file: CatalogFile) -> int | None:
    """Return the number of lines without the header; those in quotes and blank ones count too."""
    lines = count_lines(file)
    return None if lines is None else max(0, lines - 1)


def read(
    source: CatalogSource, columns: Columns, _needs: Callable[[str], bool], recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the rows below the header; one with too many or too few cells, or in which the file ends, has a fault."""
    key, known = (str(source), source.file.version), columns.options.memory.dialects
    if key not in known:
        known[key] = dialect.recognise(source, _usual(source), columns)
    written: Dialect = known[key]
    with source.open() as stream, closing(Lines(stream, source.file, written.encoding)) as lines:
        records = csv_parser.records(lines, written.syntax, written.skip)
        header = next(records, None)
        if header is None:
            raise CatalogError(f"{source}: is empty; its first line must name the columns")
        if header.fault:
            raise CatalogError(f"{source} line {header.line}: {header.fault}; this line must name the columns")
        named = tables.read_header([name.strip() for name in header.cells], source.file, columns)
        blocks = _blocks(records, named.names, lines, written, source.file, columns, recorder)
        yield from named.table.merge(blocks, columns) if named.table else blocks
        name = f"{named.table.NAME}, {written.name}" if named.table else written.name
        recorder.add_file(name, lines)


def _usual(source: CatalogSource) -> str:
    return "\t" if source.ending.removesuffix(".gz") in _TABS else ","


def _blocks(
    records: Iterator[CsvRecord], names: list[str], lines: Lines, written: Dialect, file: CatalogFile,
    columns: Columns, recorder: CatalogRecorder,
) -> Iterator[RowBlock]:  # fmt: skip
    check_columns(names, file, columns)
    width = len(names)
    id_at, image_at = (names.index(name) if name in names else 0 for name in (columns.product_id, columns.image))
    needed = 1 + max(id_at, image_at)

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
            if fault := _describe_width(count, width, needed, written.syntax.delimiter):
                faults.setdefault(at, fault)
            elif at not in faults:
                recorder.short.add(file.name, batch[at].line)
            table[at] = [*table[at][:width], *[None] * (width - count)]
        recorder.add_columns(names, len(batch))
        doubts = {at: _doubt(record, id_at, file, recorder) for at, record in enumerate(batch) if record.inner}
        cells = dict(zip(names, zip(*table, strict=True), strict=True))
        yield RowBlock([record.line for record in batch], cells, faults, doubts)
    recorder.add_columns(names, 0)


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
