"""A catalog behind a URL: folders listed and files read in blocks through fsspec, with bounded retries."""

from __future__ import annotations

import io
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from ingest.catalog.base import FileEntry
from ingest.core.errors import CatalogError
from ingest.runtime.remote_files import open_filesystem, strip_slash, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator

    from ingest.catalog.base import CatalogFile

_BLOCK = 4 << 20  # bytes read by one request; a file of at most this size is read whole
_VERSION = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created", "modified")


class RemoteTree:
    """The folders and files of a remote storage; `root` is the URL's path in it."""

    def __init__(self, url: str) -> None:
        self._files, self.root = open_filesystem(strip_slash(url, "--catalog"), "--catalog")

    def entry(self, path: str) -> FileEntry | None:
        """Return the file or folder at a path, or None."""
        try:
            about = with_retries(lambda: self._files.info(path), self._url(path), "looked up")
        except FileNotFoundError:
            return None
        return _entry(path, about)

    def entries(self, folder: str) -> list[FileEntry]:
        """Return all entries directly in a folder, in any order."""
        url = self._url(folder)
        try:
            found = with_retries(lambda: self._files.ls(folder, detail=True), url, "listed")
        except FileNotFoundError as error:
            raise CatalogError(f"{url}: no such folder; correct --catalog") from error
        # A storage's web console creates an empty object for a folder, under the folder's own name.
        return [_entry(about["name"], about) for about in found if about["name"].strip("/") != folder.strip("/")]

    def file(self, path: str, name: str, entry: FileEntry) -> CatalogFile:
        """Return the file at a path, under its name in the catalog, as it was listed."""
        return RemoteFile(self._files, path, name, self._url(path), entry.size, entry.version)

    def _url(self, path: str) -> str:
        return str(self._files.unstrip_protocol(path))


@dataclass(frozen=True, slots=True, repr=False)
class RemoteFile:
    """A file of `size` bytes in a remote storage; `content` is all of it, if it has been loaded.

    Every block is tried a few times and must have the length that was requested: otherwise reading raises StorageError.
    It raises CatalogError if the file is deleted or replaced before its end is read.
    """

    files: Any
    path: str
    name: str
    url: str
    size: int
    version: Hashable = None
    content: bytes | None = None

    @property
    def is_local(self) -> bool:
        """Whether its content is in memory."""
        return self.content is not None

    def __str__(self) -> str:
        return self.url

    def load(self) -> CatalogFile:
        """Return the file with its content in memory, if it is no longer than a block."""
        return replace(self, content=self._small_content())

    @contextmanager
    def open_stream(self) -> Iterator[io.BufferedReader]:
        """Open it for a reader that goes from start to end."""
        with self.open_seekable() as stream:
            yield cast("io.BufferedReader", io.BufferedReader(cast("io.RawIOBase", stream), _BLOCK))

    @contextmanager
    def open_seekable(self) -> Iterator[BinaryIO]:
        """Open it for a reader that seeks; each read is one request."""
        content = self._small_content()
        if content is not None:
            yield io.BytesIO(content)
            return
        before = self._version()
        yield cast("BinaryIO", _RangeStream(self._read_range, self.size))
        if self._version() != before:
            raise CatalogError(f"{self.url}: changed while it was read; run again when it is complete")

    def _small_content(self) -> bytes | None:
        """Return the whole content, or None if it is longer than a block and not loaded."""
        return self._read_range(0, self.size) if self.content is None and self.size <= _BLOCK else self.content

    def _read_range(self, start: int, end: int) -> bytes:
        def read() -> bytes:
            content: bytes = self.files.cat_file(self.path, start=start, end=end) if end > start else b""
            if len(content) != end - start:
                raise OSError(f"received {len(content)} of {end - start} bytes")
            return content

        content: bytes = self._retry(read)
        return content

    def _version(self) -> tuple[Any, ...]:
        return _version(self._retry(lambda: self.files.info(self.path)))

    def _retry(self, function: Callable[[], Any]) -> Any:
        try:
            return with_retries(function, self.url, "read")
        except FileNotFoundError as error:
            raise CatalogError(f"{self.url}: was deleted after it was listed; run again") from error


class _RangeStream(io.RawIOBase):
    """A stream over the bytes that `read_range(start, end)` returns."""

    def __init__(self, read_range: Callable[[int, int], bytes], size: int) -> None:
        self._read_range = read_range
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        self._at = max(0, start + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def readinto(self, buffer: Any) -> int:
        end = min(self._at + len(buffer), self._size)
        if end <= self._at:
            return 0
        content = self._read_range(self._at, end)
        memoryview(buffer).cast("B")[: len(content)] = content
        self._at = end
        return len(content)


def _entry(path: str, about: dict[str, Any]) -> FileEntry:
    name = path.rstrip("/").rpartition("/")[2]
    if about["type"] == "directory":
        return FileEntry(name, is_folder=True, size=0)
    if about.get("size") is None:
        raise CatalogError(f"{about['name']}: its server does not report its size; download it and pass its path")
    return FileEntry(name, is_folder=False, size=int(about["size"]), version=_version(about))


def _version(about: dict[str, Any]) -> tuple[Any, ...]:
    return about.get("size"), next((about[key] for key in _VERSION if about.get(key)), None)
