"""Object storage through fsspec: whole objects put, got, listed and removed."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.core.errors import StorageError
from ingest.runtime.parallel import batched
from ingest.runtime.remote_files import open_filesystem, strip_slash, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_AT_ONCE = 64  # small objects got together


class StoredObject(NamedTuple):
    """An object in a listing: its size in bytes, and when it was put, in seconds since 1970."""

    size: int
    modified: float


class Bucket:
    """The objects under a URL such as `s3://bucket/folder`, by their names below it.

    Credentials and endpoint are found as the storage's own tools find them. Whatever stays wrong after a few tries is a
    StorageError that names the place; FileNotFoundError is raised as it is.
    """

    def __init__(self, url: str) -> None:
        self.url = strip_slash(url, "--store")
        self._files, self._root = open_filesystem(self.url, "--store")

    def list(self, below: str = "") -> dict[str, StoredObject]:
        """Return all objects, or those below a name, by what comes after it."""
        root = f"{self._root}/{below}".rstrip("/")
        entries = self._tried("listed", below, lambda: self._listing(root))
        return {
            path.removeprefix(root).lstrip("/"): StoredObject(int(about["size"]), _modified(about))
            for path, about in entries.items()
        }

    def get(self, name: str, size: int) -> bytes:
        """Return a whole object; fewer or more bytes than the listing's `size` are a failed try."""

        def whole() -> bytes:
            content: bytes = self._files.cat_file(self._path(name))
            if len(content) != size:
                raise OSError(f"{len(content)} of {size} bytes came")
            return content

        got: bytes = self._tried("read", name, whole)
        return got

    def get_all(self, sizes: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
        """Yield small objects whole, many got at once; one that is gone is left out."""
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
        """Write an object: whole, or not at all."""
        self._tried("written", name, lambda: self._files.pipe_file(self._path(name), content))

    def remove(self, name: str) -> None:
        """Remove an object; one that is gone does not matter."""
        with suppress(FileNotFoundError):
            self._tried("removed", name, lambda: self._files.rm_file(self._path(name)))

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _listing(self, root: str) -> dict[str, Any]:
        try:
            found: dict[str, Any] = self._files.find(root, detail=True)
        except FileNotFoundError as error:  # an empty folder is a folder; this says that the bucket is missing
            bucket = root.partition("/")[0]
            raise StorageError(f"{self.url}: there is no {bucket}; make it, or correct --store") from error
        if not found:  # fsspec's walk leaves out what cannot be listed; of the root itself that must be told
            with suppress(FileNotFoundError):
                self._files.ls(root)
        return found

    def _tried(self, doing: str, name: str, function: Callable[[], Any]) -> Any:
        return with_retries(function, f"{self.url}/{name}".rstrip("/"), doing)


def _modified(about: dict[str, Any]) -> float:
    when = next((about[key] for key in ("LastModified", "mtime", "updated", "created") if about.get(key)), 0.0)
    return when.timestamp() if isinstance(when, datetime) else float(when)
