"""Files that appear whole or not at all: written beside, fsynced, renamed."""

from __future__ import annotations

import glob
import os
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO

from ingest.core.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


_ABANDONED_S = 3600.0


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `place`: a full disk, a missing right."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{place}: cannot be written ({reason(error)}); make room or set --data") from error


def reason(error: Exception) -> str:
    """Return why something failed, in words: an OSError's own text names its number and its path once more."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the name `path` when the block ends well, and leaves no trace when it does not."""
    with storage_errors(path):
        sweep(path.parent, path.name)
    with atomic_write_unswept(path) as file:
        yield file


@contextmanager
def atomic_write_unswept(path: Path) -> Iterator[BinaryIO]:
    """Do what `atomic_write` does, but look for nothing left behind: for many files in a folder, swept once."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
            sync_folder(path.parent)
        finally:
            beside.unlink(missing_ok=True)


def write_npy(file: BinaryIO, shape: tuple[int, ...], dtype: str, parts: Iterable[NDArray[np.generic]]) -> None:
    """Write a `.npy` of C-contiguous parts that have `shape` together.

    `np.save` calls a full disk "32000 requested and 24448 written".
    """
    from numpy.lib import format as npy

    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    file.writelines(part.data for part in parts)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed writers of the file `name`, or of any, left in `folder`; one that lives wrote this hour."""
    for entry in folder.glob(f".{glob.escape(name)}.*.tmp" if name else ".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > _ABANDONED_S:
                entry.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut; a system that cannot open folders (Windows) does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
