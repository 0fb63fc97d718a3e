"""How many bytes the cells of Arrow columns hold, which may be far more than Arrow takes for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_ELEMENT = 8  # bytes that an element of a list takes besides its content
_OTHER = 16  # bytes of a value of any other type


def cell_sizes(column: pa.Array) -> NDArray[np.int64]:
    """Return for each cell of a column the bytes of its content, those of lists and structs included; (n,) int64."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return cell_sizes(column.storage)
    if pa.types.is_dictionary(kind):
        sizes = np.append(cell_sizes(column.dictionary), 0)  # the last one is that of a cell without a value
        return np.asarray(sizes[_numbers(column.indices, len(sizes) - 1)])
    if pa.types.is_nested(kind):
        return _nested_sizes(column)
    if any(is_kind(kind) for is_kind in _text_kinds()):
        return _numbers(pc.binary_length(column), 0)
    width = kind.byte_width if pa.types.is_fixed_size_binary(kind) else _OTHER
    return np.full(len(column), width, np.int64)


def longest_distinct(column: pa.Array) -> int:
    """Return the bytes of the longest value in the dictionaries of a column, also within lists and structs."""
    import pyarrow as pa

    kind = column.type
    if isinstance(column, pa.ExtensionArray):
        return longest_distinct(column.storage)
    if pa.types.is_dictionary(kind):
        return int(max(cell_sizes(column.dictionary), default=0))
    if pa.types.is_map(kind):
        return max(longest_distinct(column.keys), longest_distinct(column.items))
    if pa.types.is_struct(kind):
        return max(map(longest_distinct, column.flatten()), default=0)
    return longest_distinct(column.values) if pa.types.is_nested(kind) else 0


def _nested_sizes(column: pa.Array) -> NDArray[np.int64]:
    import pyarrow as pa

    kind = column.type
    if pa.types.is_map(kind):
        return _list_sizes(column.offsets, cell_sizes(column.keys) + cell_sizes(column.items))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _list_sizes(column.offsets, cell_sizes(column.values))
    if pa.types.is_struct(kind):
        return sum(map(cell_sizes, column.flatten()), np.zeros(len(column), np.int64))
    return np.full(len(column), column.nbytes // max(1, len(column)), np.int64)  # lists of a fixed length


def _list_sizes(offsets: pa.Array, elements: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = np.concatenate([[0], np.cumsum(elements + _ELEMENT)])
    return np.diff(ends[_numbers(offsets, 0)])


def _numbers(column: pa.Array, missing: int) -> NDArray[np.int64]:
    import pyarrow as pa

    return np.asarray(column.cast(pa.int64()).fill_null(missing).to_numpy(zero_copy_only=False))


def _text_kinds() -> list[Any]:
    from pyarrow import types

    names = ("is_string", "is_binary", "is_large_string", "is_large_binary", "is_string_view", "is_binary_view")
    return [getattr(types, name) for name in names if hasattr(types, name)]
