"""CSV and TSV as blocks of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ingest.catalog import csv_parser
from ingest.catalog.rows import RowBlock, check_columns
from ingest.catalog.text_lines import BLOCK_CELLS, batch_rows
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns
    from ingest.catalog.text_lines import Lines


def read(lines: Lines, delimiter: str, file: CatalogFile, columns: Columns) -> Iterator[RowBlock]:
    """Yield the rows below the header; one with too many or too few cells has a fault."""
    records = csv_parser.records(lines, delimiter)
    header = next(records, None)
    if header is None:
        raise CatalogError(f"{file}: is empty; its first line must name the columns")
    if header.fault:
        raise CatalogError(f"{file} line {header.line}: {header.fault}; this line must name the columns")
    names = [name.strip() for name in header.cells]
    check_columns(names, file, columns)
    needed = 1 + max(names.index(columns.product_id), names.index(columns.image))
    for batch in batch_rows(records, lines, BLOCK_CELLS // len(names)):
        numbers, found, record_faults = zip(*batch, strict=True)
        faults = {at: fault for at, fault in enumerate(record_faults) if fault}
        table: list[list[Any]] = list(found)
        for at in [at for at, row in enumerate(table) if len(row) != len(names)]:
            count = len(table[at])
            if count > len(names):
                faults[at] = f"{count} cells under a header of {len(names)}; a cell with {delimiter!r} needs quotes"
            elif count < needed:
                faults.setdefault(at, f"only {count} of {len(names)} cells, too few for the id and the image")
            table[at] = [*table[at][: len(names)], *[None] * (len(names) - count)]
        yield RowBlock(list(numbers), dict(zip(names, zip(*table, strict=True), strict=True)), faults)
