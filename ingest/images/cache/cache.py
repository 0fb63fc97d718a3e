"""The image cache: the only owner of `data/image_cache/`, its files and its index.

An image's bytes are written to a temporary file, fsynced, renamed to `<product id>.<ext>`, and only then recorded: the
index may lag behind the disk and never runs ahead of it. So a file without a row is adopted, and a row whose file is
missing or different is not trusted.
"""

from __future__ import annotations

import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from ingest.images import urls
from ingest.images.cache import files
from ingest.images.cache.entry import CacheEntry
from ingest.images.cache.filenames import encode
from ingest.images.cache.index import ImageIndex, open_copy
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from ingest.core.records import Reason
    from ingest.images.http.downloader import Download

FOLDER = "image_cache"
"""The cache's name in the data folder."""
INDEX = "index.sqlite"


class NotAFileError(OSError):
    """A path of a folder, a pipe or a device, which cannot be read to its end."""


class ImageCache:
    """The folder and its index, for any number of threads of one run; a context manager that commits on exit.

    Two runs must not share a folder at the same time; the data folder's lock sees to that. The constructor creates the
    folder, removes incomplete files of a killed run, and raises StorageError if it cannot. With an `index` of its own
    it serves some products for a worker process, and removes nothing. With `changes=False` the disk stays as it is, and
    new rows go into a copy of the index.
    """

    def __init__(self, folder: Path, index: ImageIndex | None = None, *, changes: bool = True) -> None:
        self.folder = folder
        self._changes = changes
        with storage_errors(folder):
            if changes:
                folder.mkdir(parents=True, exist_ok=True)
            fingerprint, incomplete = files.scan(folder) if index is None else (-1, [])
        self._remove(incomplete)
        self._index = index or ImageIndex(folder / INDEX, None if changes else open_copy)
        # Looking for files without a row costs 24 calls per product. There are none if disk and index agree.
        self._has_strays = fingerprint != self._index.fingerprint()
        self._ignores_case = (folder / INDEX.upper()).exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def index(self) -> ImageIndex:
        """The index."""
        return self._index

    def get(self, product_id: str) -> CacheEntry | None:
        """Return the product's row without checking its file; it may be that of a failure."""
        return self._index.get(product_id)

    def path(self, entry: CacheEntry) -> Path:
        """Return where the image of a row is: in the cache, or the catalog's own file."""
        return self.folder / (entry.source if entry.file is None else entry.file)

    def find(self, product_id: str, source: str) -> CacheEntry | None:
        """Return the row of the image that was fetched from the URL `source`, None if it has to be fetched.

        A row from another source does not count. A row is trusted if its file has the same size and mtime or, with
        another mtime, the same hash. A file without a row is adopted, that is hashed and recorded with no tries; an
        adopted file that has changed is adopted again. Raises OSError if the file cannot be read.
        """
        entry = self._index.get(product_id)
        if entry is not None and not entry.is_from(source):
            return None
        if entry is not None and entry.file is not None and (self.folder / entry.file).exists():
            checked = self._check(entry)
            if checked is not None or entry.tries > 0:
                return checked
        return self._adopt(product_id, source)

    def record_local(self, product_id: str, path: Path) -> CacheEntry:
        """Return the row of an image at the absolute `path`, outside of the cache; nothing is copied.

        The file is hashed only if its path, size or mtime differ from the row's. Raises OSError if it cannot be read,
        NotAFileError if it is no regular file, and ValueError if no file can have such a name.
        """
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise NotAFileError(f"{path} is not a file")
        source = _storable(str(path))
        entry = self._index.get(product_id)
        if entry is not None and entry.is_unchanged(status) and entry.is_from(source) and entry.file is None:
            return entry
        sha256, status = files.hash_file(path)
        return self._put(_with_file(CacheEntry(product_id, source), None, sha256, status))

    def temporary_path(self) -> Path:
        """Return a new path for a download, in this folder so that it can be renamed."""
        return self.folder / files.temporary_name()

    def store(self, product_id: str, source: str, temporary: Path, download: Download) -> CacheEntry:
        """Rename the fsynced file at `temporary` to the product's image, in place of an earlier one, and record it.

        Raises StorageError if the folder cannot be written.
        """
        prior = self._index.get(product_id)
        name = f"{encode(product_id)}.{download.extension}"
        with storage_errors(self.folder):
            # The other files first: after a kill in between, the image is fetched, and no old file is adopted.
            for other in self._files(product_id):
                if other != name:
                    (self.folder / other).unlink(missing_ok=True)
            temporary.replace(self.folder / name)
            status = (self.folder / name).stat()
        entry = _with_file(_from_url(product_id, source), name, download.sha256, status)
        tries = _tries(prior, source) + 1
        return self._put(replace(entry, etag=download.etag, last_modified=download.last_modified, tries=tries))

    def fail(self, product_id: str, source: str, reason: Reason, detail: str, *, tried: bool = True) -> None:
        """Record that the URL `source` gave no image; `tried` says whether it was requested at all.

        An image from an earlier source is removed, or the next run would adopt it for this one.
        """
        prior = self._index.get(product_id)
        if prior is not None and not prior.is_from(source):
            self._remove(list(self._files(product_id)))
        elif prior is not None and prior.file is not None:
            self._remove([prior.file])
        tries = _tries(prior, source) + tried
        self._put(replace(_from_url(product_id, source), tries=tries, failure=reason, detail=detail))

    def confirm(self, entry: CacheEntry) -> CacheEntry:
        """Record that a row's image is still the one at its source."""
        return self._put(replace(entry, fetched_at=time.time(), tries=entry.tries + 1, failure=None, detail=""))

    def keep(self, entry: CacheEntry, reason: Reason, detail: str) -> CacheEntry:
        """Record that a row's image could not be refreshed; it stays in use."""
        return self._put(replace(entry, tries=entry.tries + 1, failure=reason, detail=detail))

    def reject(self, product_id: str, sha256: bytes, reason: Reason, detail: str) -> None:
        """Record that a fetched image cannot be decoded, and remove it.

        A file that a user put into the cache, or that is outside of it, is left alone.
        """
        entry = self._index.get(product_id)
        if entry is None or entry.sha256 != sha256 or entry.file is None or entry.tries == 0:
            return
        self._remove([entry.file])
        self._put(
            CacheEntry(
                product_id,
                entry.source,
                entry.source_key,
                entry.host,
                fetched_at=entry.fetched_at,
                tries=entry.tries,
                failure=reason,
                detail=detail,
            )
        )

    def flush(self) -> None:
        """Commit every row recorded so far; raises StorageError."""
        self._index.flush()

    def close(self) -> None:
        """Commit every row and close; raises StorageError. A second call does nothing."""
        self._index.close()

    def _put(self, entry: CacheEntry) -> CacheEntry:
        self._index.put(entry)
        return entry

    def _remove(self, names: Iterable[str]) -> None:
        with storage_errors(self.folder):
            for name in names if self._changes else ():
                (self.folder / name).unlink(missing_ok=True)

    def _check(self, entry: CacheEntry) -> CacheEntry | None:
        """Return the row, with a new mtime if only that has changed; None if its file is not the same."""
        path = self.path(entry)
        status = path.stat()
        if entry.is_unchanged(status):
            return entry
        if status.st_size != entry.size:
            return None
        sha256, status = files.hash_file(path)
        if sha256 != entry.sha256:
            return None
        return self._put(replace(entry, size=status.st_size, mtime_ns=status.st_mtime_ns))

    def _adopt(self, product_id: str, source: str) -> CacheEntry | None:
        """Record the first of the product's files that is an image; None if there is none."""
        for name in self._files(product_id):
            path = self.folder / name
            if files.is_image(path):
                sha256, status = files.hash_file(path)
                entry = _from_url(product_id, source)
                return self._put(_with_file(entry, self._claim(product_id, name), sha256, status))
        return None

    def _claim(self, product_id: str, name: str) -> str:
        """Give a file our own name for the product if case is ignored here: `ABC` would overwrite `abc.jpg`."""
        stem, _, kind = name.rpartition(".")
        if not self._ignores_case or not self._changes or stem == encode(product_id):
            return name
        own = f"{encode(product_id)}.{kind}"
        with storage_errors(self.folder):
            (self.folder / name).rename(self.folder / own)
        return own

    def _files(self, product_id: str) -> Iterator[str]:
        """Yield the names of the product's files."""
        if self._has_strays:
            yield from files.product_files(self.folder, product_id, ignores_case=self._ignores_case)
            return
        prior = self._index.get(product_id)
        if prior is not None and prior.file is not None and (self.folder / prior.file).is_file():
            yield prior.file


def _from_url(product_id: str, url: str) -> CacheEntry:
    """Return a row for a URL, without its secrets and without a file."""
    return CacheEntry(product_id, urls.redact(url), urls.key(url), urls.host(url), fetched_at=time.time())


def _with_file(entry: CacheEntry, name: str | None, sha256: bytes, status: os.stat_result) -> CacheEntry:
    """Return a row with its image's file, which is called `name` if it is in the cache folder."""
    size, mtime_ns = status.st_size, status.st_mtime_ns
    return replace(entry, file=name, sha256=sha256, size=size, mtime_ns=mtime_ns, fetched_at=time.time())


def _tries(prior: CacheEntry | None, source: str) -> int:
    return prior.tries if prior is not None and prior.is_from(source) else 0


def _storable(path: str) -> str:
    """Return `path` as text that SQLite can hold: on Linux a name need not be valid UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()
