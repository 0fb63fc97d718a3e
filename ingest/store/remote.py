"""Object storage through fsspec: whole objects put, got, listed and removed, tried again a few times and no more."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from ingest.durable import reason
from ingest.errors import ConfigError, IngestError, StorageError
from ingest.flow import batched

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

_TRIES = 5
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 5.0
_CONNECT_S, _READ_S = 10, 60  # a connection that went silent is noticed by then
_AT_ONCE = 64  # small objects got together


class Found(NamedTuple):
    """An object in a listing: its size in bytes, and when it was put, in seconds since 1970."""

    size: int
    modified: float


def is_remote(place: str) -> bool:
    """Whether a place is a URL, and no folder; raises ConfigError for a URL that lacks a slash."""
    if re.match(r"[a-z][a-z0-9+]+:/(?!/)", place):
        raise ConfigError(f"--store {place}: a URL has two slashes: {place.replace(':/', '://', 1)}")
    return "://" in place


def without_slash(url: str) -> str:
    """Return a URL without slashes at its end; raises ConfigError where nothing is left behind its `://`."""
    kind, _, rest = url.partition("://")
    if not rest.strip("/"):
        raise ConfigError(f"--store {url}: names no bucket; write {kind}://bucket/folder")
    return url.rstrip("/")


class Bucket:
    """The objects under a URL such as `s3://bucket/folder`, by their names below it.

    Credentials and endpoint are found as the storage's own tools find them. Whatever stays wrong after a few tries is a
    StorageError that names the place; FileNotFoundError is raised as it is.
    """

    def __init__(self, url: str) -> None:
        self.url = without_slash(url)
        kind = url.partition("://")[0]
        import fsspec

        options: dict[str, Any] = {"use_listings_cache": False, "skip_instance_cache": True}
        if kind in ("s3", "s3a"):
            # Tries are counted here, once: botocore's, s3fs's and these would multiply.
            options["config_kwargs"] = {
                "connect_timeout": _CONNECT_S, "read_timeout": _READ_S, "retries": {"max_attempts": 0},
            }  # fmt: skip
        try:
            self._files, self._root = fsspec.core.url_to_fs(self.url, **options)
        except ImportError as error:
            extra = "pip install 'ingest[s3]'" if kind in ("s3", "s3a") else f"install its package ({error})"
            raise ConfigError(f"--store {url}: this storage cannot be reached without its package; {extra}") from error
        except ValueError as error:
            raise ConfigError(f"--store {url}: {error}; give a folder, or a URL such as s3://bucket/folder") from error
        except Exception as error:  # some storages connect at once, and raise what their libraries do
            raise StorageError(f"{url}: cannot be reached ({_said(error)}); correct --store, or run again") from error
        if hasattr(self._files, "retries"):
            self._files.retries = 1

    def list(self, below: str = "") -> dict[str, Found]:
        """Return all objects, or those below a name, by what comes after it."""
        root = f"{self._root}/{below}".rstrip("/")
        entries = self._tried("listed", below, lambda: self._listing(root))
        return {
            path.removeprefix(root).lstrip("/"): Found(int(about["size"]), _modified(about))
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
        import tenacity

        trying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(_TRIES),
            wait=tenacity.wait_random_exponential(_FIRST_PAUSE_S, _LONGEST_PAUSE_S),
            retry=tenacity.retry_if_exception(_passes),
            reraise=True,
        )
        try:
            return trying(function)
        except (FileNotFoundError, IngestError):
            raise
        except Exception as error:  # fsspec's storages raise what their libraries do: botocore's, aiohttp's, OSError
            place = f"{self.url}/{name}".rstrip("/")
            raise StorageError(
                f"{place}: cannot be {doing} ({_said(error)}); see to the storage and the rights to it, and run again"
            ) from error


def _said(error: Exception) -> str:
    return " ".join(reason(error).split()) or type(error).__name__


def _passes(error: BaseException) -> bool:
    """Whether trying again may help: not where the object, the right or the credentials are missing."""
    lasting = (FileNotFoundError, PermissionError, NotImplementedError, IngestError)
    return isinstance(error, Exception) and not isinstance(error, lasting) and "redential" not in type(error).__name__


def _modified(about: dict[str, Any]) -> float:
    when = next((about[key] for key in ("LastModified", "mtime", "updated", "created") if about.get(key)), 0.0)
    return when.timestamp() if isinstance(when, datetime) else float(when)
