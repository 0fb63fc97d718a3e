"""The image cache: the only owner of `data/image_cache/`, its files and its index.

An image's bytes are written to a temporary file and fsynced, its source is recorded (`Sources`), the file is renamed to
`<product id>.<ext>`, and only then gets a row: the index may lag behind the disk and never runs ahead of it. A file
without a row is used for the URL that it was downloaded from, or, if it was put there by hand, for the product's.
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
from ingest.images.cache.files import storable
from ingest.images.cache.index import ImageIndex, open_copy
from ingest.images.cache.product_files import ProductFiles
from ingest.images.cache.replaced import ReplacedImages
from ingest.images.urls import UrlKey
from ingest.runtime.atomic_files import storage_errors

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path
    from types import TracebackType

    from ingest.core.records import Reason
    from ingest.images.cache.entry import ImageContent
    from ingest.images.cache.product_files import UnrecordedFile
    from ingest.images.http.downloader import Download
    from ingest.images.reading import FileFacts

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
    new rows go into a copy of the index. `url_key` says which URLs name the same image.
    """

    def __init__(
        self, folder: Path, index: ImageIndex | None = None, *, changes: bool = True, url_key: UrlKey = UrlKey.FULL
    ) -> None:
        self.folder = folder
        self.url_key = url_key
        self._changes = changes
        with storage_errors(folder):
            if changes:
                folder.mkdir(parents=True, exist_ok=True)
            fingerprint, incomplete = files.scan(folder) if index is None else (-1, [])
        self._remove(incomplete)
        self._index = index or ImageIndex(folder / INDEX, None if changes else open_copy)
        self._replaced = ReplacedImages()
        self._files = ProductFiles(
            folder,
            self._replaced,
            # Looking for files without a row costs 24 calls per product. There are none if disk and index agree.
            has_strays=fingerprint != self._index.fingerprint(),
            ignores_case=(folder / INDEX.upper()).exists(),
        )
        if changes and index is None:
            self._files.sources.tidy(self._index.downloads())

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
        """Return the row of the image at the URL `source`, None if it has to be fetched.

        A row from another source does not count. A row is trusted if its file has the same size and mtime or, with
        another mtime, the same hash. A file without such a row is recorded if it was downloaded from this URL, or, with
        no tries, if it was put into the cache by hand. Raises OSError if the file cannot be read.
        """
        entry = self._index.get(product_id)
        if entry is not None and entry.is_from(source, self.url_key) and (checked := self._check(entry)) is not None:
            return checked
        for found in self._files.unrecorded(product_id, entry):
            if found.key is None or self.url_key.matches(found.key, source):
                return self._adopt(product_id, source, found)
        return None

    def find_local(self, files: Sequence[tuple[str, Path]]) -> list[CacheEntry | OSError | ValueError | None]:
        """Return the rows of products' images outside of the cache, given as absolute paths.

        None if the file must be read, because its path, size or mtime differ from the row's. An error if it cannot be
        read: NotAFileError if it is no regular file, ValueError if no file can have such a name.
        """
        entries = self._index.get_all([product_id for product_id, _ in files])
        return [self._find_local(entries.get(product_id), path) for product_id, path in files]

    def record_local(self, files: Iterable[tuple[str, Path, FileFacts]]) -> None:
        """Record images outside of the cache that were read; nothing is copied."""
        now = time.time()
        self._index.put_all(
            CacheEntry(
                product_id, storable(str(path)), sha256=facts.sha256, size=facts.size, mtime_ns=facts.mtime_ns,
                fetched_at=now,
            )
            for product_id, path, facts in files
        )  # fmt: skip

    def temporary_path(self) -> Path:
        """Return a new path for a download, in this folder so that it can be renamed."""
        return self.folder / files.temporary_name()

    def store(self, product_id: str, source: str, temporary: Path, download: Download | CacheEntry) -> CacheEntry:
        """Rename the fsynced file at `temporary` to the product's image, in place of an earlier one, and record it.

        A file that was put there by hand is kept as `<name>.replaced`. Raises StorageError if the folder cannot be
        written.
        """
        prior = self._index.get(product_id)
        sha256 = download.sha256
        assert sha256 is not None, "what is stored has a digest"
        with storage_errors(self.folder):
            name = f"{encode(product_id)}.{download.extension}"
            self._files.sources.add(name, sha256, urls.key(source))
            self._files.make_room(product_id, prior, name, sha256)
            temporary.replace(self.folder / name)
            status = (self.folder / name).stat()
        entry = CacheEntry.from_url(product_id, source).with_file(name, sha256, status)
        tries = self._tries(prior, source) + 1
        entry = replace(entry, etag=download.etag, last_modified=download.last_modified, tries=tries)
        self._replaced.count(prior, entry)
        return self._put(entry)

    def find_shared(self, product_id: str, source: str) -> CacheEntry | None:
        """Return the row of another product that has downloaded the same URL, the latest; None if there is none."""
        row = self._index.find_download(urls.key(source), self.url_key, product_id)
        return None if row is None else self._check(row)

    def share(self, product_id: str, source: str, shared: CacheEntry) -> CacheEntry | None:
        """Give the product a name of its own, a hard link or a copy, for the file of another row, and record it.

        Files are replaced by renaming, so neither changes with the other. Returns None if the file is not the row's.
        """
        if not self._changes:
            return self._put(replace(shared, product_id=product_id))
        temporary = self.temporary_path()
        try:
            if shared.file is None or not self._files.link(shared.file, temporary, shared):
                return None
            entry = self.store(product_id, source, temporary, shared)
            return self._put(replace(entry, fetched_at=shared.fetched_at))
        finally:
            temporary.unlink(missing_ok=True)  # two names of one file: renaming one to the other leaves both

    def fail(self, product_id: str, source: str, reason: Reason, detail: str, *, tried: bool = True) -> None:
        """Record that the URL `source` gave no image; `tried` says whether it was requested at all.

        The file of the earlier row goes: it belongs to another source, or is damaged.
        """
        prior = self._index.get(product_id)
        if prior is not None:
            self._files.retire(prior)
        tries = self._tries(prior, source) + tried
        self._put(replace(CacheEntry.from_url(product_id, source), tries=tries, failure=reason, detail=detail))

    def confirm(self, entry: CacheEntry, source: str) -> CacheEntry:
        """Record that a row's image is still the one at the URL `source`."""
        now = CacheEntry.from_url(entry.product_id, source)
        return self._put(
            replace(
                entry, source=now.source, source_key=now.source_key, host=now.host, fetched_at=now.fetched_at,
                tries=entry.tries + 1, failure=None, detail="",
            )
        )  # fmt: skip

    def keep(self, entry: CacheEntry, reason: Reason, detail: str) -> CacheEntry:
        """Record that a row's image could not be refreshed; it stays in use."""
        tries = 0 if entry.is_adopted else entry.tries + 1
        return self._put(replace(entry, tries=tries, failure=reason, detail=detail))

    def reject(self, product_id: str, sha256: bytes, reason: Reason, detail: str) -> None:
        """Record that a fetched image cannot be decoded, and remove it.

        A file that a user put into the cache, or that is outside of it, is left alone.
        """
        entry = self._index.get(product_id)
        if entry is None or entry.sha256 != sha256 or entry.file is None or entry.is_adopted:
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

    def record(self, entries: Iterable[CacheEntry], contents: Iterable[tuple[bytes, ImageContent]]) -> None:
        """Record the rows of files that worker processes have put into the folder, and what they saw when decoding."""
        entries = list(entries)
        fetched = [entry for entry in entries if entry.source_key is not None]
        before = self._index.get_all([entry.product_id for entry in fetched])
        for entry in fetched:
            self._replaced.count(before.get(entry.product_id), entry)
        self._index.put_all(entries)
        self._index.put_contents(contents)

    def notes(self) -> list[str]:
        """Return what the user should know about the images that were replaced."""
        return self._replaced.notes(self._index.count_from_urls())

    def flush(self) -> None:
        """Commit every row recorded so far; raises StorageError."""
        self._index.flush()

    def close(self) -> None:
        """Commit every row and close; raises StorageError. A second call does nothing."""
        try:
            self._files.sources.close()
        finally:
            self._index.close()

    @staticmethod
    def _find_local(entry: CacheEntry | None, path: Path) -> CacheEntry | OSError | ValueError | None:
        try:
            status = path.stat()
        except (OSError, ValueError) as error:
            return error
        if not stat.S_ISREG(status.st_mode):
            return NotAFileError(f"{path} is not a file")
        if entry is None or entry.file is not None or not entry.is_unchanged(status):
            return None
        return entry if entry.is_from(storable(str(path))) else None

    def _tries(self, prior: CacheEntry | None, source: str) -> int:
        return prior.tries if prior is not None and prior.is_from(source, self.url_key) else 0

    def _put(self, entry: CacheEntry) -> CacheEntry:
        self._index.put(entry)
        return entry

    def _remove(self, names: Iterable[str]) -> None:
        with storage_errors(self.folder):
            for name in names if self._changes else ():
                (self.folder / name).unlink(missing_ok=True)

    def _check(self, entry: CacheEntry) -> CacheEntry | None:
        """Return the row, with a new mtime if only that has changed; None if its file is missing or not the same."""
        path = self.path(entry)
        if entry.file is None or not path.exists():
            return None
        status = path.stat()
        if entry.is_unchanged(status):
            return entry
        if status.st_size != entry.size:
            return None
        sha256, status = files.hash_file(path)
        if sha256 != entry.sha256:
            return None
        return self._put(replace(entry, size=status.st_size, mtime_ns=status.st_mtime_ns))

    def _adopt(self, product_id: str, source: str, found: UnrecordedFile) -> CacheEntry:
        """Record a file that had no row: as downloaded from its own URL, or with no tries."""
        entry = CacheEntry.from_url(product_id, source)
        if found.key is not None:
            entry = replace(entry, source_key=found.key, tries=1)
        name = self._files.claim(product_id, found.name) if self._changes else found.name
        return self._put(entry.with_file(name, found.sha256, found.status))
