"""How much of a Parquet file is decoded at once: few bytes of a file may stand for many."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from pyarrow.parquet import ColumnChunkMetaData, FileMetaData

    from ingest.catalog.base import CatalogFile

_BATCH_ROWS = 1_024
_BATCH_BYTES = 64 << 20  # that a batch may be decoded to, in the worst case that the file's footer allows
_DICTIONARY_BYTES = range(8 << 10, 32 << 20)  # sizes of columns that are decoded to their distinct values
_BOMB_BYTES, _BOMB_RATIO = 64 << 20, 100  # text compresses to a tenth, the same text over and over to a fiftieth
_BOMB_VALUES, _BOMB_VALUES_RATIO = 4 << 20, 1_000  # values of lists, and how many of them are in a byte of the file
_FIXED = 16  # bytes of a number, a time or an index into a dictionary
_HEADER = 32  # bytes that hold the first fields of a page's header


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


def find_dictionaries(metadata: FileMetaData, leaves: Sequence[Leaf]) -> list[str]:
    """Return the paths of the columns that are decoded to their distinct values and a number for each row.

    A value that all rows share takes memory once then. Arrow keeps the distinct values of a whole row group, so this is
    not for large ones; and the values of tiny ones fit into memory as often as a batch can repeat them.
    """
    found = []
    for leaf in leaves:
        chunks = [metadata.row_group(group).column(leaf.number) for group in range(metadata.num_row_groups)]
        sizes = [chunk.total_uncompressed_size for chunk in chunks]
        if (
            leaf.is_text
            and any(chunk.has_dictionary_page for chunk in chunks)
            and (leaf.is_repeated or max(sizes) >= _DICTIONARY_BYTES.start)
            and max(sizes) < _DICTIONARY_BYTES.stop
            and not any(_is_delta(chunk) for chunk in chunks)
        ):
            found.append(leaf.path)
    return found


def batches(
    file: CatalogFile, stream: BinaryIO, metadata: FileMetaData, leaves: Sequence[Leaf], dictionaries: Collection[str]
) -> Iterator[tuple[int, list[int]]]:
    """Yield (rows to decode at once, numbers of consecutive row groups).

    Raises CatalogError for a row group whose values would fill the memory although the file is small.
    """
    others = [leaf for leaf in leaves if leaf.path not in dictionaries]

    def batch_rows(group: int) -> int:
        about = metadata.row_group(group)
        for leaf in leaves:
            _check_bomb(file, leaf, about.column(leaf.number), about.num_rows)
        worst = _FIXED * (len(leaves) - len(others))
        worst += sum(_worst_bytes(leaf, about.column(leaf.number), about.num_rows, stream) for leaf in others)
        return max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(1, worst)))

    for rows, groups in groupby(range(metadata.num_row_groups), batch_rows):
        yield rows, list(groups)


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


def _worst_bytes(leaf: Leaf, chunk: ColumnChunkMetaData, rows: int, stream: BinaryIO) -> int:
    """Return how many bytes a row may decode to, if lists are about equally long."""
    values: int = -(-chunk.num_values // max(1, rows))
    if not leaf.is_text:
        return values * max(_FIXED, leaf.length)
    longest: int = 0
    if _is_delta(chunk):  # a value repeats the beginning of the one before
        longest = chunk.total_uncompressed_size
    elif chunk.has_dictionary_page:
        longest = min(_page_bytes(stream, chunk.dictionary_page_offset), chunk.total_uncompressed_size)
    return max(values * longest, int(chunk.total_uncompressed_size) // max(1, rows))


def _is_delta(chunk: ColumnChunkMetaData) -> bool:
    return "DELTA_BYTE_ARRAY" in chunk.encodings


def _page_bytes(stream: BinaryIO, offset: int) -> int:
    """Return the decoded size of the page whose header is at this offset; a size that no page has if it is unusual.

    The header is Thrift's compact protocol: a field's number and type, 0x15, before the page's type and its size.
    https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
    """
    stream.seek(offset)
    header = iter(stream.read(_HEADER))
    size = 0
    for _ in ("type", "size"):
        if next(header, 0) != 0x15:
            return 1 << 62
        size = shift = 0
        for byte in header:
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
    return size >> 1  # zigzag: the lowest bit is the sign
