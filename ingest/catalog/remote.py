"""A catalog behind a URL: its folders listed and its files read in blocks through fsspec, each tried a few times."""

from __future__ import annotations

import io
import re
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, cast

from ingest.catalog.files import FileEntry
from ingest.core.errors import CatalogError, ConfigError
from ingest.runtime.remote_files import open_filesystem, strip_slash, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.catalog.files import CatalogFile

_BLOCK = 4 << 20  # bytes asked for together, and what a file may have to be got whole
_VERSION = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "updated", "created", "modified")


class RemoteTree:
    """The folders and files of a storage; `root` is the URL's own path in it."""

    def __init__(self, url: str) -> None:
        _check_no_secret(url)
        self._files, self.root = open_filesystem(strip_slash(url, "--catalog"), "--catalog")

    def entry(self, path: str) -> FileEntry | None:
        """Return what is there, None where nothing is."""
        try:
            about = with_retries(lambda: self._files.info(path), self._url(path), "looked up")
        except FileNotFoundError:
            return None
        return _entry(path, about)

    def entries(self, folder: str) -> list[FileEntry]:
        """Return all that is directly in a folder, in any order."""
        url = self._url(folder)
        try:
            found = with_retries(lambda: self._files.ls(folder, detail=True), url, "listed")
        except FileNotFoundError as error:
            raise CatalogError(f"{url}: no such folder; correct --catalog") from error
        # A storage's console makes an empty object to show a folder, under the folder's own name.
        return [_entry(about["name"], about) for about in found if about["name"].strip("/") != folder.strip("/")]

    def file(self, path: str, name: str, size: int) -> CatalogFile:
        """Return the file that is there under the name that its catalog gives it."""
        return RemoteFile(self._files, path, name, self._url(path), size)

    def _url(self, path: str) -> str:
        return str(self._files.unstrip_protocol(path))


@dataclass(frozen=True, slots=True, repr=False)
class RemoteFile:
    """A file of `size` bytes in a storage; `content` is all of it, where it has been got already.

    Every block is tried a few times and has the length that was asked for, or StorageError ends the reading; so does
    CatalogError where the file is gone, or another one, before it was read to its end.
    """

    files: Any
    path: str
    name: str
    url: str
    size: int
    content: bytes | None = None
    is_local: ClassVar[bool] = False

    def __str__(self) -> str:
        return self.url

    def held(self) -> CatalogFile:
        """Return the file with its content, where it is no longer than a block."""
        return replace(self, content=self._whole())

    @contextmanager
    def streamed(self) -> Iterator[io.BufferedReader]:
        """Open it for a reader that goes from its start to its end."""
        with self.seekable() as stream:
            yield cast("io.BufferedReader", io.BufferedReader(cast("io.RawIOBase", stream), _BLOCK))

    @contextmanager
    def seekable(self) -> Iterator[BinaryIO]:
        """Open it for a reader that jumps; each read is one request."""
        content = self._whole()
        if content is not None:
            yield io.BytesIO(content)
            return
        before = self._version()
        yield cast("BinaryIO", _Blocks(self._got, self.size))
        if self._version() != before:
            raise CatalogError(f"{self.url}: changed while it was read; run again when it is written to its end")

    def _whole(self) -> bytes | None:
        return self._got(0, self.size) if self.content is None and self.size <= _BLOCK else self.content

    def _got(self, start: int, end: int) -> bytes:
        def block() -> bytes:
            content: bytes = self.files.cat_file(self.path, start=start, end=end) if end > start else b""
            if len(content) != end - start:
                raise OSError(f"{len(content)} of {end - start} bytes came")
            return content

        got: bytes = self._tried(block)
        return got

    def _version(self) -> tuple[Any, ...]:
        about = self._tried(lambda: self.files.info(self.path))
        return about.get("size"), next((about[key] for key in _VERSION if about.get(key)), None)

    def _tried(self, function: Callable[[], Any]) -> Any:
        try:
            return with_retries(function, self.url, "read")
        except FileNotFoundError as error:
            raise CatalogError(f"{self.url}: is gone since it was listed; run again") from error


class _Blocks(io.RawIOBase):
    """A stream over what `got(start, end)` gives."""

    def __init__(self, got: Callable[[int, int], bytes], size: int) -> None:
        self._got = got
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
        content = self._got(self._at, end)
        memoryview(buffer).cast("B")[: len(content)] = content
        self._at = end
        return len(content)


def _entry(path: str, about: dict[str, Any]) -> FileEntry:
    name = path.rstrip("/").rpartition("/")[2]
    if about["type"] == "directory":
        return FileEntry(name, is_folder=True, size=0)
    if about.get("size") is None:
        raise CatalogError(f"{about['name']}: its server does not say how long it is; download it, and pass its path")
    return FileEntry(name, is_folder=False, size=int(about["size"]))


def _check_no_secret(url: str) -> None:
    """Raise ConfigError for a URL that carries a password or a signature: reports name the catalog."""
    kind, _, rest = url.partition("://")
    host = rest.partition("/")[0]
    if re.search(r":.*@", host) or (kind in ("http", "https") and "?" in rest):
        place = f"{kind}://{host.rpartition('@')[2]}/…"
        raise ConfigError(
            f"--catalog {place}: a URL with a password or a query would stand in reports; let the storage's own "
            "configuration hold the credentials, or download the file"
        )
