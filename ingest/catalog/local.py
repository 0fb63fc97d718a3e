"""A catalog's files on a disk."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from ingest.catalog.base import FileEntry
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    import io

    from ingest.catalog.base import CatalogFile

_TICK_S, _COARSE_TICK_S = 0.02, 2.0  # file systems count time in steps; some, such as FAT, of two seconds


class FileVersion(NamedTuple):
    """What differs after a file was written, replaced or renamed: also if its bytes, or its mtime, are the same."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


class LocalTree:
    """The files of this machine."""

    def entry(self, path: str) -> FileEntry | None:
        """Return the file or folder at a path, or None."""
        # Unlike pathlib's, these return False for a path that cannot exist.
        if not os.path.exists(path):  # noqa: PTH110
            return None
        return _entry(path, os.path.basename(path))  # noqa: PTH119

    def entries(self, folder: str) -> list[FileEntry]:
        """Return all entries directly in a folder, in any order."""
        try:
            with os.scandir(folder or ".") as entries:
                return [_entry(entry.path, entry.name) for entry in entries]
        except OSError as error:
            raise CatalogError(f"{folder or '.'}: cannot be listed: {error.strerror}") from error

    def file(self, path: str, name: str, entry: FileEntry) -> CatalogFile:
        """Return the file at a path, under its name in the catalog, as it was listed.

        Raises CatalogError for a pipe or a device, because a run reads its catalog more than once.
        """
        if not isinstance(entry.version, FileVersion):
            raise CatalogError(f"{path}: is not a regular file; save the catalog as a file first")
        return LocalFile(Path(path), name, entry.version)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on a disk."""

    path: Path
    name: str
    version: FileVersion
    is_local: ClassVar[bool] = True

    def __str__(self) -> str:
        return str(self.path)

    def load(self) -> CatalogFile:
        """Return the file itself."""
        return self

    def open_stream(self) -> io.BufferedReader:
        """Open it for reading."""
        return self.path.open("rb")

    open_seekable = open_stream


def _entry(path: str, name: str) -> FileEntry:
    try:
        found = _settled(path)
    except OSError:  # such as a dangling link: opening it gives the error
        return FileEntry(name, is_folder=False, version=FileVersion(0, 0, 0, 0, 0))
    if stat.S_ISDIR(found.st_mode):
        return FileEntry(name, is_folder=True)
    if not stat.S_ISREG(found.st_mode):
        return FileEntry(name, is_folder=False)
    version = FileVersion(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return FileEntry(name, is_folder=False, size=found.st_size, version=version)


def _settled(path: str) -> os.stat_result:
    """Return a file's status once a later change is certain to show in its times: they count in steps."""
    found = os.stat(path)  # noqa: PTH116  a part of a million needs no Path
    if not stat.S_ISREG(found.st_mode):
        return found
    newest = max(found.st_mtime_ns, found.st_ctime_ns)
    tick = _COARSE_TICK_S if newest % 10**9 == 0 else _TICK_S
    age = time.time() - newest / 10**9
    if not 0 <= age < tick:  # a time in the future is another machine's clock
        return found
    time.sleep(tick - age)
    return os.stat(path)  # noqa: PTH116
