"""`.npy` files of the store: written durably in parts, and their headers read without their rows."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from ingest.durable import write_npy

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from numpy.typing import NDArray


def save(path: Path, shape: tuple[int, ...], dtype: str, parts: Iterable[NDArray[np.generic]]) -> None:
    """Write an array, part by part; when this returns it survives a power cut."""
    with path.open("wb") as file:
        write_npy(file, shape, dtype, parts)
        file.flush()
        os.fsync(file.fileno())


def header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype[np.generic], int]:
    """Read a `.npy`'s header: its shape, its type, and the byte its rows begin at; ValueError where it has fewer."""
    version = np.lib.format.read_magic(file)
    read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(f"a .npy of version {version}")
    shape, by_columns, dtype = read(file)
    offset = file.tell()
    if not shape or min(shape) < 0 or by_columns or dtype.hasobject:
        raise ValueError(f"{dtype} of shape {shape}, by columns: {by_columns}")
    if os.fstat(file.fileno()).st_size < offset + math.prod(shape) * dtype.itemsize:
        raise ValueError("it is cut off")
    return shape, dtype, offset
