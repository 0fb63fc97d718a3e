"""Excel and OpenDocument workbooks: the sheet whose first row names the columns."""

from __future__ import annotations

import zipfile
from itertools import islice
from typing import TYPE_CHECKING, Any

from ingest.catalog import tables
from ingest.catalog.rows import RowBlock, check_columns
from ingest.core.errors import AmbiguousCatalogError, CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns
    from ingest.catalog.source import CatalogSource

NAMES = ("excel",)
ENDINGS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods")
IS_TEXT = False

_ZIP, _OLE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_BLOCK = 1_024
_MOST_BYTES = 2 << 30  # unzipped
_EXACT = 10**15
"""Excel keeps 15 digits of a number; the rest of a longer one is lost."""


def recognises(source: CatalogSource) -> bool:
    """Return whether a file begins as a workbook does."""
    return source.head.startswith((_ZIP, _OLE))


def read(
    source: CatalogSource, columns: Columns, _needs: Callable[[str], bool], recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the rows below the header; dates are ISO 8601, and whole numbers have no point."""
    calamine = _library()
    try:
        with source.file.open_seekable() as stream:
            _check_size(source, stream)
            stream.seek(0)
            book = calamine.CalamineWorkbook.from_filelike(stream)
            sheet, names = _find_sheet(source, book, columns)
            header = tables.read_header(names, source.file, columns)
            check_columns(header.names, source.file, columns)
            blocks = _blocks(sheet, header.names, columns, recorder)
            yield from header.table.merge(blocks, columns) if header.table else blocks
    except (calamine.CalamineError, zipfile.BadZipFile, OSError, ValueError) as error:
        raise CatalogError(f"{source}: cannot be read as a workbook: {error}") from error
    recorder.add_file(f"{header.table.NAME}, Excel" if header.table else "Excel")


def count_rows(_file: CatalogFile) -> int | None:
    """Return None: the whole workbook would have to be read."""
    return None


def _library() -> Any:
    try:
        import python_calamine
    except ImportError as error:
        raise CatalogError(
            "a workbook needs one more package: pip install 'ingest[excel]'; or save it as CSV"
        ) from error
    return python_calamine


def _check_size(source: CatalogSource, stream: Any) -> None:
    """Raise CatalogError for a workbook whose few bytes stand for so many that they would fill the memory."""
    if not zipfile.is_zipfile(stream):
        return
    with zipfile.ZipFile(stream) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_BYTES:
        raise CatalogError(f"{source}: unzips to {size >> 20:,} MiB, which would fill the memory; save it as CSV")


def _find_sheet(source: CatalogSource, book: Any, columns: Columns) -> tuple[Any, list[str]]:
    """Return the sheet with the columns, and its names; raises AmbiguousCatalogError if several have them."""
    fits = []
    for name in book.sheet_names:
        sheet = book.get_sheet_by_name(name)
        first: list[Any] = next(iter(sheet.iter_rows()), []) if sheet.height else []
        names = [str(cell).strip() for cell in first]
        fits.append((tables.fit(names, columns), name, sheet, names))
    best = max((fit for fit, *_ in fits), default=0)
    found = [each for each in fits if each[0] == best]
    if not found:
        raise CatalogError(f"{source}: has no sheets")
    if best and len(found) > 1:
        one, other = found[0][1], found[1][1]
        raise AmbiguousCatalogError(
            f"{source}: the sheets {one!r} and {other!r} both have the columns; save one as CSV"
        )
    return found[0][2], found[0][3]


def _blocks(sheet: Any, names: list[str], columns: Columns, recorder: CatalogRecorder) -> Iterator[RowBlock]:
    rows = sheet.iter_rows()
    next(rows, None)
    before = sheet.start[0] + 1 if sheet.start else 1
    width, id_at = len(names), names.index(columns.product_id) if columns.product_id in names else 0
    recorder.add_columns(names, 0)
    while batch := list(islice(rows, _BLOCK)):
        numbered = [(line, row) for line, row in enumerate(batch, before + 1) if any(cell != "" for cell in row)]
        before += len(batch)
        if not numbered:
            continue
        recorder.add_columns(names, len(numbered))
        cells = [[_cell(cell) for cell in [*row, *[""] * (width - len(row))][:width]] for _, row in numbered]
        yield RowBlock(
            [line for line, _ in numbered],
            dict(zip(names, zip(*cells, strict=True), strict=True)),
            {at: fault for at, row in enumerate(cells) if (fault := _fault(row[id_at]))},
        )


def _cell(cell: Any) -> Any:
    """Return a cell as a value: Excel has no whole numbers, and keeps a part of a number of more than 15 digits."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < _EXACT:
        return int(cell)
    return None if cell == "" else cell


def _fault(product_id: Any) -> str:
    if not isinstance(product_id, float) or abs(product_id) < _EXACT:
        return ""
    return f"the id {product_id:.0f} is a number of more than 15 digits, which Excel rounds; format the column as text"
