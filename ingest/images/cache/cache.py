"""The picture cache: the only owner of `data/image_cache/`, its files and its index.

A picture's bytes are written aside, fsynced, renamed to `<product id>.<ext>`, and only then recorded: the
index may lag behind the disk and never runs ahead of it. So a file without a row is adopted, and a row whose
file is gone or different is not trusted.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Self

from ingest.images import urls
from ingest.images.cache.filenames import encode, is_safe
from ingest.images.cache.files import EXTENSIONS, scan, temporary_name
from ingest.images.cache.index import CacheEntry, ImageIndex, open_copy
from ingest.images.file_type import HEAD, extension
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType

    from ingest.core.records import Reason

FOLDER = "image_cache"
"""Its name in the data folder."""
INDEX = "index.sqlite"


class NotAFileError(OSError):
    """A path that names a folder, a pipe or a device: nothing that could be read to its end."""


class ImageCache:
    """The folder and its index, for any number of threads of one run; a context manager that commits on exit.

    Two runs must not share a folder at the same time; a lock elsewhere sees to that. The constructor makes
    the folder, removes what a killed run left half written, and raises StorageError where it cannot. With an
    `index` of its own it is a part of another process's cache, for some products, and removes nothing. Without
    `changes` all on disk stays as it is, and what is learnt goes into a copy of the index.
    """

    def __init__(self, folder: Path, index: ImageIndex | None = None, *, changes: bool = True) -> None:
        self.folder = folder
        self._changes = changes
        with storage_errors(folder):
            if changes:
                folder.mkdir(parents=True, exist_ok=True)
            on_disk, left = scan(folder) if index is None else (-1, [])
        self._remove(left)
        self._index = index or ImageIndex(folder / INDEX, None if changes else open_copy)
        # Looking for files without a row costs 24 calls a product; where disk and index agree there are none.
        self._has_strays = on_disk != self._index.fingerprint()
        self._ignores_case = (folder / INDEX.upper()).exists()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def get(self, product_id: str) -> CacheEntry | None:
        """Return the product's row as it stands, unchecked, a failure's included."""
        return self._index.get(product_id)

    @property
    def index(self) -> ImageIndex:
        """The rows, for those who count them."""
        return self._index

    def find(self, product_id: str, source: str) -> CacheEntry | None:
        """Return the row of the picture fetched from the URL `source`, None where it must be fetched.

        None as well where the row names another source. A file without a row is adopted: hashed, recorded
        with no tries. A row is trusted if its file has the same size and mtime or, failing the latter, the
        same hash; an adopted file that changed is adopted again.

        Raises OSError where the file cannot be read.
        """
        entry = self._index.get(product_id)
        if entry is not None and not is_of(entry, source):
            return None
        if entry is not None and entry.file is not None and (self.folder / entry.file).exists():
            checked = self._checked(entry)
            if checked is not None or entry.tries > 0:
                return checked
        return self._adopted(product_id, source)

    def path(self, entry: CacheEntry) -> Path:
        """Return where the bytes of the row's picture are: in the cache, or the catalog's own file."""
        return self.folder / (entry.source if entry.file is None else entry.file)

    def local(self, product_id: str, path: Path) -> CacheEntry:
        """Return the row of a picture that lies at the absolute `path`, outside the cache; nothing is copied.

        It is hashed only where path, size or mtime are not those of the row. Raises OSError where it cannot
        be read, NotAFileError where it is no regular file, ValueError where no file can have such a name.
        """
        about = path.stat()
        if not stat.S_ISREG(about.st_mode):
            raise NotAFileError(f"{path} is not a file")
        source = _text(str(path))
        entry = self._index.get(product_id)
        if entry is not None and is_unchanged(entry, about) and is_of(entry, source) and entry.file is None:
            return entry
        sha256, about = _hashed(path)
        entry = _entry(product_id, (source, None, None), None, sha256, about)
        self._index.put(entry)
        return entry

    def temporary(self) -> Path:
        """Return the path for a download, in this folder so that it can be renamed; nothing is there yet."""
        return self.folder / temporary_name()

    def store(
        self,
        product_id: str,
        source: str,
        temporary: Path,
        *,
        sha256: bytes,
        extension: str,
        etag: str | None = None,
        last_modified: str | None = None,
    ) -> CacheEntry:
        """Give the fsynced file at `temporary` its final name, in place of an earlier picture, and record it.

        Raises StorageError where the folder cannot be written.
        """
        prior = self._index.get(product_id)
        name = f"{encode(product_id)}.{extension}"
        with storage_errors(self.folder):
            # Others first: a kill in between leaves no file, which is fetched, and never an old one to adopt.
            for other in self._files(product_id):
                if other != name:
                    (self.folder / other).unlink(missing_ok=True)
            temporary.replace(self.folder / name)
            about = (self.folder / name).stat()
        entry = replace(
            _entry(product_id, _origin(source), name, sha256, about),
            etag=etag,
            last_modified=last_modified,
            tries=_tries(prior, source) + 1,
        )
        self._index.put(entry)
        return entry

    def fail(self, product_id: str, source: str, reason: Reason, detail: str, *, tried: bool = True) -> None:
        """Record that the URL `source` gave no picture, for want of a try where not `tried`.

        A picture from an earlier source goes, lest the next run adopt it as this source's.
        """
        prior = self._index.get(product_id)
        stale: list[str] = []
        if prior is not None and not is_of(prior, source):
            stale = list(self._files(product_id))
        elif prior is not None and prior.file is not None:
            stale = [prior.file]
        self._remove(stale)
        tries = _tries(prior, source) + tried
        self._index.put(CacheEntry(product_id, *_origin(source), *(None,) * 6, time.time(), tries, reason, detail))

    def confirm(self, entry: CacheEntry) -> CacheEntry:
        """Record that a row's picture is still the one that its source has."""
        self._index.put(entry := replace(entry, fetched_at=time.time(), tries=entry.tries + 1, failure=None, detail=""))
        return entry

    def keep(self, entry: CacheEntry, reason: Reason, detail: str) -> CacheEntry:
        """Record that a row's picture could not be refreshed; it stays in use."""
        self._index.put(entry := replace(entry, tries=entry.tries + 1, failure=reason, detail=detail))
        return entry

    def reject(self, product_id: str, sha256: bytes, reason: Reason, detail: str) -> None:
        """Record that a fetched picture cannot be decoded, so that it is not taken from here again.

        A file that a user dropped in, or that lies elsewhere, is left alone.
        """
        entry = self._index.get(product_id)
        if entry is None or entry.sha256 != sha256 or entry.file is None or entry.tries == 0:
            return
        self._remove([entry.file])
        none = {"file": None, "sha256": None, "size": None, "mtime_ns": None, "etag": None, "last_modified": None}
        self._index.put(replace(entry, **none, failure=reason, detail=detail))  # type: ignore[arg-type]

    def _remove(self, names: Iterable[str]) -> None:
        with storage_errors(self.folder):
            for name in names if self._changes else ():
                (self.folder / name).unlink(missing_ok=True)

    def flush(self) -> None:
        """Commit every row recorded so far; raises StorageError."""
        self._index.flush()

    def close(self) -> None:
        """Commit every row and close; raises StorageError. A second call does nothing."""
        self._index.close()

    def _checked(self, entry: CacheEntry) -> CacheEntry | None:
        path = self.path(entry)
        about = path.stat()
        if is_unchanged(entry, about):
            return entry
        if about.st_size != entry.size:
            return None
        sha256, about = _hashed(path)
        if sha256 != entry.sha256:
            return None
        self._index.put(entry := replace(entry, size=about.st_size, mtime_ns=about.st_mtime_ns))
        return entry

    def _adopted(self, product_id: str, source: str) -> CacheEntry | None:
        """Record the first file with the product's name that holds a picture; None where none does."""
        for name in self._files(product_id):
            path = self.folder / name
            with path.open("rb") as file:
                if extension(file.read(HEAD)) is None:
                    continue
            sha256, about = _hashed(path)
            stem, _, kind = name.rpartition(".")
            own = f"{encode(product_id)}.{kind}"
            if self._ignores_case and self._changes and stem != encode(product_id):
                # Here `abc.jpg` would be overwritten by the picture of another product, `ABC`.
                with storage_errors(self.folder):
                    path.rename(self.folder / own)
                name = own  # noqa: PLW2901  the file has it now
            entry = _entry(product_id, _origin(source), name, sha256, about)
            self._index.put(entry)
            return entry
        return None

    def _files(self, product_id: str) -> Iterator[str]:
        """Yield the names of files that are the product's: under our name for it, or under its id."""
        if not self._has_strays:
            prior = self._index.get(product_id)
            if prior is not None and prior.file is not None and (self.folder / prior.file).is_file():
                yield prior.file
            return
        stems = [encode(product_id)]
        if is_safe(product_id) and product_id not in stems:
            stems.append(product_id)
        for stem in stems:
            for kind in EXTENSIONS:
                name = f"{stem}.{kind}"
                if os.path.isfile(os.path.join(self.folder, name)) and self._is_exact(name):  # noqa: PTH113, PTH118
                    yield name

    def _is_exact(self, name: str) -> bool:
        """Whether the file has this very name, where the file system finds it under other spellings too."""
        return not self._ignores_case or name in os.listdir(self.folder)  # noqa: PTH208


def _hashed(path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's SHA-256 and how it was before it was read, so that a change meanwhile shows later."""
    with path.open("rb") as file:
        about = os.fstat(file.fileno())
        return hashlib.file_digest(file, "sha256").digest(), about


def is_unchanged(entry: CacheEntry, about: os.stat_result) -> bool:
    """Whether a file is as it was when its row was written, by size and time."""
    return (entry.size, entry.mtime_ns) == (about.st_size, about.st_mtime_ns)


def is_of(entry: CacheEntry, source: str) -> bool:
    """Whether the row is about that URL or path."""
    return entry.source == source if entry.source_key is None else entry.source_key == urls.key(source)


def _origin(url: str) -> tuple[str, bytes, str]:
    """Return what a row says of a URL: shown without its secrets, its digest, its host."""
    return urls.redact(url), urls.key(url), urls.host(url)


def _entry(
    product_id: str,
    origin: tuple[str, bytes | None, str | None],
    name: str | None,
    sha256: bytes,
    about: os.stat_result,
) -> CacheEntry:
    """Return the row of a picture that no download brought."""
    size, changed = about.st_size, about.st_mtime_ns
    return CacheEntry(product_id, *origin, name, sha256, size, changed, None, None, time.time(), 0, None, "")


def _tries(prior: CacheEntry | None, source: str) -> int:
    return prior.tries if prior is not None and is_of(prior, source) else 0


def _text(path: str) -> str:
    """Return `path` as SQLite can hold it; on Linux a name need not be valid UTF-8."""
    return path.encode("utf-8", "backslashreplace").decode()
