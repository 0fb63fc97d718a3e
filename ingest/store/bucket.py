"""Object storage through fsspec: objects put, got, listed and removed."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from ingest.core.errors import StorageError
from ingest.runtime.parallel import batched
from ingest.runtime.remote_files import open_filesystem, strip_slash, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")

_AT_ONCE = 64  # small objects downloaded together


_VERSIONS = ("ETag", "etag", "md5Hash", "content_md5")


class StoredObject(NamedTuple):
    """An object in a listing: its size in bytes, when it was put, in seconds since 1970, and what tells it from others.

    `version` is another whenever the object is put again with other content.
    """

    size: int
    modified: float
    version: str = ""


class Bucket:
    """The objects under a URL such as `s3://bucket/folder`, by their names below it.

    Credentials and endpoint are found as the storage's own tools find them. A request that fails in every try raises a
    StorageError that names the object; FileNotFoundError is raised unchanged.
    """

    def __init__(self, url: str) -> None:
        self.url = strip_slash(url, "--store")
        self._files, self._root = open_filesystem(self.url, "--store")

    def list(self, below: str = "") -> dict[str, StoredObject]:
        """Return all objects, or those below a name, by their names relative to it."""
        root = f"{self._root}/{below}".rstrip("/")
        entries = self._retry("listed", below, lambda: self._find(root))
        return {path.removeprefix(root).lstrip("/"): _stored_object(about) for path, about in entries.items()}

    def get(self, name: str, size: int) -> bytes:
        """Return a whole object; a try that gives fewer or more than `size` bytes has failed."""

        def whole() -> bytes:
            content: bytes = self._files.cat_file(self._path(name))
            if len(content) != size:
                raise OSError(f"{len(content)} of {size} bytes were received")
            return content

        return self._retry("read", name, whole)

    def get_all(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
        """Yield small objects, downloading many at once; missing ones are left out."""
        for names in batched(sizes, _AT_ONCE):
            paths = {name: self._path(name) for name in names}
            got = self._files.cat(list(paths.values()), on_error="return")  # what failed is tried again alone
            for name, path in paths.items():
                content = got.get(path) if isinstance(got, dict) else got
                if isinstance(content, bytes) and len(content) == sizes[name]:
                    yield name, content
                    continue
                with suppress(FileNotFoundError):
                    yield name, self.get(name, sizes[name])

    def put(self, name: str, content: bytes) -> None:
        """Write an object, whole or not at all."""
        self._retry("written", name, lambda: self._files.pipe_file(self._path(name), content))

    def remove(self, name: str) -> None:
        """Remove an object; a missing one does not matter."""
        with suppress(FileNotFoundError):
            self._retry("removed", name, lambda: self._files.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _find(self, root: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._files.find(root, detail=True)
        except FileNotFoundError as error:  # not for an empty folder: the bucket is missing
            bucket = root.partition("/")[0]
            raise StorageError(f"{self.url}: there is no {bucket}; create it, or correct --store") from error
        if not found:  # fsspec's walk ignores folders that cannot be listed; for the root, report it
            with suppress(FileNotFoundError):
                self._files.ls(root)
        return found

    def _retry(self, doing: str, name: str, function: Callable[[], T]) -> T:
        return with_retries(function, f"{self.url}/{name}".rstrip("/"), doing)


def _stored_object(about: dict[str, Any]) -> StoredObject:
    size, modified = int(about["size"]), _modified(about)
    version = next((str(about[key]) for key in _VERSIONS if about.get(key)), f"{size} {modified}")
    return StoredObject(size, modified, version)


def _modified(about: dict[str, Any]) -> float:
    when = next((about[key] for key in ("LastModified", "mtime", "updated", "created") if about.get(key)), 0.0)
    return when.timestamp() if isinstance(when, datetime) else float(when)
