"""The header of a `.npy`, read from a file or from bytes, and checked against the file's size."""

from __future__ import annotations

import math
from typing import BinaryIO

import numpy as np


def header(file: BinaryIO, size: int) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Read the header of a `.npy` of `size` bytes: its shape, its dtype, and the byte at which its rows begin.

    Raises ValueError if the file is shorter than the header says, or is not an array that a shard may hold.
    """
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"a .npy of version {version}")
    shape, by_columns, dtype = read(file)
    offset = file.tell()
    if not shape or min(shape) < 0 or by_columns or dtype.hasobject:
        raise ValueError(f"{dtype} of shape {shape}, by columns: {by_columns}")
    if size < offset + math.prod(shape) * dtype.itemsize:
        raise ValueError("it is cut off")
    return shape, dtype, offset
