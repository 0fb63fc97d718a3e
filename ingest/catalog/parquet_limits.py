"""How much of a Parquet file is decoded at once: few bytes of a file may stand for many."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ingest.catalog.arrow_sizes import longest_distinct
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from pyarrow.parquet import ColumnChunkMetaData, FileMetaData, ParquetFile

    from ingest.catalog.base import CatalogFile

_BATCH_ROWS = 1_024
_BATCH_BYTES = 16 << 20  # that a batch may be decoded to, in the worst case that the file's footer allows
_DICTIONARY_BYTES = 32 << 20  # of a column that may be decoded to its distinct values
_COLUMNS = 16  # so many columns are looked at only if the values of one would take more than their share of a batch
_BOMB_BYTES, _BOMB_RATIO = 64 << 20, 100  # text compresses to a tenth, the same text over and over to a fiftieth
_BOMB_VALUES, _BOMB_VALUES_RATIO = 4 << 20, 1_000  # values of lists, and how many of them are in a byte of the file
_FIXED = 16  # bytes of a number, a time or an index into a dictionary


class Leaf(NamedTuple):
    """A column as Parquet stores it: a list or a struct has several. `length` is that of values of a fixed length."""

    number: int
    path: str
    is_text: bool
    is_repeated: bool
    length: int


def find_leaves(metadata: FileMetaData, needed: Collection[str]) -> list[Leaf]:
    """Return the stored columns of the columns with these names."""
    leaves = []
    for number in range(metadata.num_columns):
        column = metadata.schema.column(number)
        if any(column.path == name or column.path.startswith(f"{name}.") for name in needed):
            is_text = column.physical_type == "BYTE_ARRAY"
            leaves.append(Leaf(number, column.path, is_text, column.max_repetition_level > 0, max(0, column.length)))
    return leaves


def find_limits(
    file: CatalogFile, stream: BinaryIO, metadata: FileMetaData, leaves: Sequence[Leaf]
) -> tuple[list[str], list[tuple[int, list[int]]]]:
    """Return the paths to read as dictionaries, and (rows to decode at once, numbers of consecutive row groups).

    Arrow repeats a dictionary's value in every row that has it, so the rows of a batch depend on the longest value. A
    list that has it many times is one row, and read as numbers in the dictionary. (Not every column is, because Arrow
    copies all distinct values for each batch.) Raises CatalogError for a row group whose values would fill the memory
    although the file is small.
    """
    from pyarrow import parquet

    dictionaries: set[str] = set()
    worst: list[int] = []
    paths = [leaf.path for leaf in leaves if leaf.is_text]
    with parquet.ParquetFile(stream, metadata=metadata, pre_buffer=False, read_dictionary=paths) as table:
        for group in range(metadata.num_row_groups):
            about, total = metadata.row_group(group), 0
            for leaf in leaves:
                chunk = about.column(leaf.number)
                _check_bomb(file, leaf, chunk, about.num_rows)
                longest = _longest_value(table, group, leaf, chunk, about.num_rows)
                is_small = chunk.total_uncompressed_size <= _DICTIONARY_BYTES
                if leaf.is_repeated and leaf.is_text and is_small and chunk.num_values * longest > _BATCH_BYTES:
                    dictionaries.add(leaf.path)
                    longest = _FIXED
                plain = int(chunk.total_uncompressed_size) // max(1, about.num_rows)
                total += max(plain, _values_a_row(chunk, about.num_rows) * longest)
            worst.append(max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, total))))
    limits = [(rows, list(groups)) for rows, groups in groupby(range(metadata.num_row_groups), worst.__getitem__)]
    return sorted(dictionaries), limits


def _check_bomb(file: CatalogFile, leaf: Leaf, chunk: ColumnChunkMetaData, rows: int) -> None:
    stored, decoded = max(1, chunk.total_compressed_size), chunk.total_uncompressed_size
    more = chunk.num_values - rows if leaf.is_repeated else 0
    if decoded > _BOMB_BYTES and decoded > _BOMB_RATIO * stored:
        what = f"{decoded >> 20:,} MiB"
    elif more > _BOMB_VALUES and more > _BOMB_VALUES_RATIO * stored:
        what = f"{more:,} values"
    else:
        return
    raise CatalogError(
        f"{file}: the column {leaf.path!r} has {what} in {stored:,} bytes, which would fill the memory; "
        "leave the column out, or write smaller row groups"
    )


def _longest_value(table: ParquetFile, group: int, leaf: Leaf, chunk: ColumnChunkMetaData, rows: int) -> int:
    """Return how many bytes a value has that is stored once and may be decoded many times, or of a fixed length."""
    size = int(chunk.total_uncompressed_size)
    if not leaf.is_text:
        return max(_FIXED, leaf.length)
    if "DELTA_BYTE_ARRAY" in chunk.encodings:  # a value repeats the beginning of the one before
        return size
    if not chunk.has_dictionary_page:
        return 0
    if size * min(rows, _BATCH_ROWS) * _values_a_row(chunk, rows) <= _BATCH_BYTES // _COLUMNS:
        return size
    first = next(table.iter_batches(1, row_groups=[group], columns=[leaf.path]), None)
    longest = max(map(longest_distinct, first.columns), default=0) if first is not None else 0
    return longest or size  # a column that begins without a value does not show its dictionary


def _values_a_row(chunk: ColumnChunkMetaData, rows: int) -> int:
    return -(-int(chunk.num_values) // max(1, rows))
