"""Files that appear whole or not at all: written beside, fsynced, renamed."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO

from ingest.errors import StorageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def writing_to(place: Path) -> Iterator[None]:
    """Turn an OSError of the block into a StorageError that names `place`: a full disk, a missing right."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{place}: cannot be written ({error.strerror or error}); make room or set --data"
        ) from error


@contextmanager
def replaced(path: Path) -> Iterator[BinaryIO]:
    """Open a file that takes the name `path` when the block ends well, and leaves no trace when it does not."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with writing_to(path.parent):
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


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power cut; a system that cannot open folders (Windows) does so by itself."""
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
