"""A catalog's files on a disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ingest.catalog.base import FileEntry
from ingest.core.errors import CatalogError

if TYPE_CHECKING:
    import io

    from ingest.catalog.base import CatalogFile


class LocalTree:
    """The files of this machine."""

    def entry(self, path: str) -> FileEntry | None:
        """Return the file or folder at a path, or None."""
        # Unlike pathlib's, these return False for a path that cannot exist.
        if not os.path.exists(path):  # noqa: PTH110
            return None
        return FileEntry(os.path.basename(path), os.path.isdir(path), 0)  # noqa: PTH112, PTH119

    def entries(self, folder: str) -> list[FileEntry]:
        """Return all entries directly in a folder, in any order."""
        try:
            with os.scandir(folder or ".") as entries:
                return [FileEntry(entry.name, entry.is_dir(), 0) for entry in entries]
        except OSError as error:
            raise CatalogError(f"{folder or '.'}: cannot be listed: {error.strerror}") from error

    def file(self, path: str, name: str, _size: int) -> CatalogFile:
        """Return the file at a path, under its name in the catalog."""
        return LocalFile(Path(path), name)


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on a disk."""

    path: Path
    name: str
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
