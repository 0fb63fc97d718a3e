"""What a catalog's files and folders can do, on a disk or behind a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple, Protocol

if TYPE_CHECKING:
    import io
    from collections.abc import Hashable
    from contextlib import AbstractContextManager


class FileEntry(NamedTuple):
    """A name in a folder. `size` is in bytes, and `version` another one after each change of a file."""

    name: str
    is_folder: bool
    size: int = 0
    version: Hashable = None


class CatalogFile(Protocol):
    """One file of a catalog. `str()` gives its whole path or URL, for messages."""

    @property
    def name(self) -> str:
        """Its path below the catalog's folder, with slashes."""

    @property
    def version(self) -> Hashable:
        """What it was when it was listed; another value after it was changed or replaced."""

    @property
    def is_local(self) -> bool:
        """Whether reading all of it costs little."""

    def load(self) -> CatalogFile:
        """Return the file with its content in memory if it is small and remote, else the file itself."""

    def open_stream(self) -> AbstractContextManager[io.BufferedReader]:
        """Open it for a reader that goes from start to end."""

    def open_seekable(self) -> AbstractContextManager[BinaryIO]:
        """Open it for a reader that seeks."""


class FileTree(Protocol):
    """Folders and files by path. Raises CatalogError for what cannot be listed or looked up."""

    def entry(self, path: str) -> FileEntry | None:
        """Return the file or folder at a path, or None."""

    def entries(self, folder: str) -> list[FileEntry]:
        """Return all entries directly in a folder, in any order."""

    def file(self, path: str, name: str, entry: FileEntry) -> CatalogFile:
        """Return the file at a path, under its name in the catalog, as it was listed."""
