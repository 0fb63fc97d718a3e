"""Parquet as blocks of rows, of the needed columns alone."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

from ingest.catalog import arrow
from ingest.catalog.casting import display
from ingest.catalog.rows import RowBlock, check_columns
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.rows import Columns

log = logging.getLogger(__name__)

_BUFFER = 1 << 20  # bytes a column: 192 MB in one row group take 12 MB, not 203
_BATCH = 1_024  # rows; a column of images as bytes must fit into memory too


def read(file: CatalogFile, columns: Columns, needs: Callable[[str], bool]) -> Iterator[RowBlock]:
    """Yield the rows of a file in order, with the columns that `needs` returns True for."""
    import pyarrow as pa
    from pyarrow import parquet

    row = 0
    try:
        # By default pyarrow holds a whole row group, which is often the whole file.
        with (
            file.open_seekable() as stream,
            parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER) as table,
        ):
            names = table.schema_arrow.names
            check_columns(names, file, columns)
            needed = [name for name in names if needs(name)]
            for name, zone in arrow.unknown_zones(table.schema_arrow, needed).items():
                _warn_of_zone(zone, name)
            for batch in table.iter_batches(_BATCH, columns=needed):
                values = list(map(arrow.values, batch.columns))
                first, row = row + 1, row + batch.num_rows
                if batch.num_rows:
                    yield RowBlock(list(range(first, row + 1)), dict(zip(batch.schema.names, values, strict=True)), {})
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        place = f"{file} after row {row}" if row else f"{file}"
        cause = " ".join(str(error).split())
        raise CatalogError(f"{place}: cannot be read as Parquet: {cause}") from error


def count_rows(file: CatalogFile) -> int:
    """Return how many rows a file notes that it has."""
    from pyarrow import parquet

    with file.open_seekable() as stream:
        return int(parquet.read_metadata(stream).num_rows)


@cache  # one warning, however many files have such a column
def _warn_of_zone(zone: str, column: str) -> None:
    log.warning(
        "column %s is kept in UTC, because this machine has no data for the time zone %s; pip install tzdata",
        display(column),
        display(zone),
    )
