"""Files that appear whole or not at all: written under a temporary name, fsynced, renamed."""

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
    """Turn an OSError of the block, such as a full disk, into a StorageError that names `place`."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"{place}: cannot be written ({reason(error)}); make room or set --data") from error


def reason(error: Exception) -> str:
    """Return why something failed, in words; for an OSError, without its number and path."""
    return (isinstance(error, OSError) and error.strerror) or str(error)


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file that gets the name `path` when the block succeeds, and is removed when it fails."""
    with storage_errors(path):
        sweep(path.parent, path.name)
    with atomic_write_unswept(path) as file:
        yield file


@contextmanager
def atomic_write_unswept(path: Path) -> Iterator[BinaryIO]:
    """Do the same without removing what killed writers left: for many files in a folder that is swept once."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            sync_folder(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_npy(file: BinaryIO, shape: tuple[int, ...], dtype: str, parts: Iterable[NDArray[np.generic]]) -> None:
    """Write a `.npy` of C-contiguous parts, which together have this `shape`.

    On a full disk, `np.save` says only "32000 requested and 24448 written".
    """
    from numpy.lib import format as npy

    npy.write_array_header_1_0(file, {"descr": dtype, "fortran_order": False, "shape": shape})
    file.writelines(part.data for part in parts)


def sweep(folder: Path, name: str = "") -> None:
    """Remove temporary files that killed writers of `name`, or of any file, left in `folder` over an hour ago."""
    for entry in folder.glob(f".{glob.escape(name)}.*.tmp" if name else ".*.tmp"):
        with suppress(FileNotFoundError):
            if time.time() - entry.stat().st_mtime > _ABANDONED_S:
                entry.unlink()


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut. Windows cannot open folders, and needs no call."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
