"""Parquet as blocks of rows, of the needed columns alone."""

from __future__ import annotations

import logging
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from ingest.catalog import arrow, parquet_limits
from ingest.catalog.arrow_sizes import cell_sizes
from ingest.catalog.casting import display
from ingest.catalog.rows import MAX_ROW, TOO_LONG, RowBlock, check_columns
from ingest.catalog.unpacked_images import unpack
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from ingest.catalog.base import CatalogFile
    from ingest.catalog.recorder import CatalogRecorder
    from ingest.catalog.rows import Columns
    from ingest.catalog.source import CatalogSource

log = logging.getLogger(__name__)

NAMES = ("parquet",)
ENDINGS = (".parquet", ".pq")
IS_TEXT = False

_BUFFER = 1 << 20  # bytes a column: 192 MB in one row group take 12 MB, not 203
_BLOCK_BYTES = 4 << 20  # of the cells in a block of several rows
_LONGEST_ID = 4_096  # bytes of the id of a row that is too long
_MAGIC = b"PAR1"


def recognises(source: CatalogSource) -> bool:
    """Return whether a file begins as Parquet does."""
    return source.head.startswith(_MAGIC)


def read(
    source: CatalogSource, columns: Columns, needs: Callable[[str], bool], recorder: CatalogRecorder
) -> Iterator[RowBlock]:
    """Yield the rows of a file in order, with the columns that `needs` returns True for."""
    import pyarrow as pa
    from pyarrow import parquet

    file, row = source.file, 0
    try:
        with file.open_seekable() as stream:
            metadata = parquet.read_metadata(stream)
            schema = metadata.schema.to_arrow_schema()
            check_columns(schema.names, file, columns)
            needed = [name for name in schema.names if needs(name)]
            for name, zone in arrow.unknown_zones(schema, needed).items():
                _warn_of_zone(zone, name)
            leaves = parquet_limits.find_leaves(metadata, needed)
            dictionaries, limits = parquet_limits.find_limits(file, stream, metadata, leaves)
            # By default pyarrow holds a whole row group, which is often the whole file.
            with parquet.ParquetFile(
                stream, metadata=metadata, pre_buffer=False, buffer_size=_BUFFER, read_dictionary=dictionaries
            ) as table:
                for rows, groups in limits:
                    for batch in table.iter_batches(rows, row_groups=groups, columns=needed):
                        yield from _unpacked(_blocks(batch, row, columns.product_id), columns)
                        row += batch.num_rows
            recorder.add_columns(schema.names, row)
            recorder.add_file("Parquet")
    except (pa.ArrowException, OSError, ValueError, OverflowError) as error:
        if not row and (cut := _describe_cut(file)):
            raise CatalogError(f"{file}: cannot be read as Parquet: {cut}") from error
        place = f"{file} after row {row}" if row else f"{file}"
        cause = " ".join(str(error).split())
        raise CatalogError(f"{place}: cannot be read as Parquet: {cause}") from error


def count_rows(file: CatalogFile) -> int:
    """Return how many rows a file notes that it has."""
    from pyarrow import parquet

    with file.open_seekable() as stream:
        return int(parquet.read_metadata(stream).num_rows)


def _blocks(batch: pa.RecordBatch, before: int, id_column: str) -> Iterator[RowBlock]:
    """Yield rows, the first of which is number `before` + 1, in blocks that are small as Python values."""
    sizes = sum(map(cell_sizes, batch.columns), np.zeros(batch.num_rows, np.int64))
    start = 0
    while start < batch.num_rows:
        if sizes[start] > MAX_ROW:
            identity = batch.column(id_column).slice(start, 1)
            ids = arrow.values(identity) if int(cell_sizes(identity)[0]) <= _LONGEST_ID else [None]
            yield RowBlock([before + start + 1], {id_column: ids}, {0: TOO_LONG})
            start += 1
            continue
        end = start + max(1, int(np.searchsorted(np.cumsum(sizes[start:]), _BLOCK_BYTES)))
        columns = {
            name: arrow.values(column.slice(start, end - start))
            for name, column in zip(batch.schema.names, batch.columns, strict=True)
        }
        yield RowBlock(list(range(before + start + 1, before + end + 1)), columns, {})
        start = end


def _unpacked(blocks: Iterator[RowBlock], columns: Columns) -> Iterator[RowBlock]:
    """Yield blocks with the names of files in the place of images that are inside the catalog."""
    for block in blocks:
        unpacked = {
            name: [unpack(cell, columns.options.unpack_to) for cell in block.columns[name]]
            for name in dict.fromkeys((columns.image, *columns.more_images))
            if not all(isinstance(cell, str) or cell is None for cell in block.columns.get(name, ()))
        }
        yield block._replace(columns={**block.columns, **unpacked}) if unpacked else block


def _describe_cut(file: CatalogFile) -> str:
    """Return how one sees that a file is cut off; "" if it is not."""
    with file.open_seekable() as stream:
        begin = stream.read(len(_MAGIC))
        size = stream.seek(0, 2)
        stream.seek(max(0, size - len(_MAGIC)))
        end = stream.read()
    if not begin:
        return "it is empty"
    if (_MAGIC.startswith(begin) and end != _MAGIC) or (begin == _MAGIC and size < 3 * len(_MAGIC)):
        return "it is cut off, for its end is missing; copy it again"
    return ""


@cache  # one warning, however many files have such a column
def _warn_of_zone(zone: str, column: str) -> None:
    log.warning(
        "column %s is kept in UTC, because this machine has no data for the time zone %s; pip install tzdata",
        display(column),
        display(zone),
    )
