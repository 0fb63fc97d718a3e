"""Finds one product's image: a local file, in the cache, or downloaded."""

from __future__ import annotations

import errno
import math
import re
import time
from dataclasses import dataclass
from pathlib import PureWindowsPath
from typing import TYPE_CHECKING, NamedTuple

from ingest.catalog.unpacked_images import is_unpacked
from ingest.core.errors import StorageError
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.core.redaction import redact
from ingest.core.settings import Settings
from ingest.images.cache.cache import NotAFileError
from ingest.images.existing_names import ExistingNames
from ingest.images.unusable_images import EARLIER, UnusableImages
from ingest.images.url_turns import UrlTurns
from ingest.images.urls import DownloadError, guess_url, host
from ingest.images.whatwg_url import parse

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.entry import CacheEntry
    from ingest.images.http.downloader import Downloader
    from ingest.images.roots import ImageRoots

# At least two letters: `C:` is a drive. Without `//` only well-known schemes, because a file may be called `12:30.jpg`.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://|(?:https?|ftps?|file|data|blob|about|javascript|s3|gs):", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")

# Errors of the machine: every further product would meet them too.
_MACHINE_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_MISSING = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})
_DENIED = frozenset({errno.EACCES, errno.EPERM})


@dataclass(frozen=True, slots=True)
class RefetchPolicy:
    """Which images are fetched again: those older than `older_than_s` and, with `failed`, permanent failures.

    What was fetched or confirmed since the run `began`, in seconds since 1970, is not asked for again.
    """

    failed: bool = False
    older_than_s: float | None = None
    began: float = math.inf

    def is_due(self, entry: CacheEntry) -> bool:
        """Whether to compare an image with its source; also one that was put into the cache by hand."""
        if self.older_than_s is None or entry.fetched_at >= self.began:
            return False
        return time.time() - entry.fetched_at >= self.older_than_s


class UnreadFile(NamedTuple):
    """A product whose local image is at `path`, of `size` bytes, 0 if not known; its digest is not known yet."""

    product: Product
    path: Path
    size: int = 0


class ImageResolver:
    """Turns a Product into its ImageFile, or into a Skipped with the reason; passes a Skipped through.

    A local image becomes an UnreadFile. For any number of threads. `downloader` is None if downloads are off. Local
    images must be in one of the `roots`. Of several images the first is taken that is not unusable for good; `fields`
    of the metadata name it. Whatever a product contains, nothing is raised, except StorageError, which ends the run.
    """

    def __init__(
        self,
        cache: ImageCache,
        downloader: Downloader | None,
        roots: ImageRoots,
        refetch: RefetchPolicy = RefetchPolicy(),
        fields: Iterable[str] = (),
        unusable: UnusableImages | None = None,
    ) -> None:
        self._cache = cache
        self._downloader = downloader
        self._roots = roots
        self._refetch = refetch
        self._requests = UrlTurns(cache.url_key)
        self._names = ExistingNames(roots.folders)
        self._unusable = unusable or UnusableImages(cache, Settings(retry_failed=refetch.failed))
        self._fields = tuple(fields)

    def __call__(self, record: Product | Skipped) -> ImageFile | UnreadFile | Skipped:
        """Return the product's image, or a Skipped of `Stage.IMAGES`."""
        if isinstance(record, Skipped):
            return record
        product, found = record, self._find(record)
        while product.more_images and isinstance(found, Skipped) and found.reason.passes_to_next_image:
            if has_scheme(product.image):
                self._unusable.note_url(product, product.image.strip(), found.reason, found.detail)
            product = product.with_next_image(self._fields)
            found = self._find(product)
        return found

    def _find(self, record: Product) -> ImageFile | UnreadFile | Skipped:
        image = record.image.strip()
        if not is_text(record.product_id) or not is_text(image):
            return _skipped(record, Reason.BAD_ROW, "the id or the image is not valid Unicode; correct the row")
        if not image:
            return _skipped(record, Reason.NO_IMAGE, "the row names no image; give it a path or a URL")
        try:
            if has_scheme(image):
                return self._remote(record, image)
            return self._local(record, image)
        except DownloadError as error:
            return _skipped(record, error.reason, error.detail)

    def host(self, record: ImageFile | UnreadFile | Product | Skipped) -> str | None:
        """Return the host that a product's image would be fetched from first, None if it needs no network."""
        if self._downloader is None or not isinstance(record, Product):
            return None
        images = (image.strip() for image in (record.image, *record.more_images))
        url = next((image for image in images if image[:4].lower() == "http"), "")
        return host(url) or None if url else None

    def _remote(self, product: Product, url: str) -> ImageFile | Skipped:
        if url[:5].lower() == "file:":
            detail = f"{redact(url)}: file: URLs are not fetched; write the path without file:"
            return _skipped(product, Reason.DISALLOWED, detail)
        parse(url)
        try:
            entry = self._cache.find(product.product_id, url)
        except OSError as error:
            return unreadable(product, f"the cached image of {redact(url)}", error)
        if entry is None and (fault := self._unusable.find_url(product, url)) is not None:
            raise DownloadError(fault[0], fault[1] + EARLIER)
        if self._downloader is None:
            if entry is None:
                entry = self._shared(product.product_id, url, None)
            if entry is None:
                detail = f"{redact(url)}: not in the cache; pass --download-missing"
                return _skipped(product, Reason.NOT_DOWNLOADED, detail)
        elif entry is None:
            if (earlier := self._earlier_error(product.product_id, url)) is not None:
                raise earlier
            entry = self._obtain(self._downloader, product, url, None)
        elif self._refetch.is_due(entry):
            entry = self._refresh(self._downloader, product, url, entry)
        return _image_file(product, self._cache.path(entry), entry.sha256)

    def _earlier_error(self, product_id: str, url: str) -> DownloadError | None:
        """Return the error that an earlier run met at this URL, None unless it is permanent.

        All of the URL counts, whatever `url_key` is: another signature may open what was refused.
        """
        entry = self._cache.get(product_id)
        if self._refetch.failed or entry is None or entry.failure is None or not entry.is_from(url):
            return None
        reason = Reason(entry.failure)
        if reason.is_transient or reason.depends_on_settings:
            return None
        return DownloadError(reason, entry.detail.removesuffix(EARLIER) + EARLIER)

    def _refresh(self, downloader: Downloader, product: Product, url: str, entry: CacheEntry) -> CacheEntry:
        """Ask whether the image has changed; if the request fails, the image stays in use."""
        try:
            return self._obtain(downloader, product, url, entry)
        except DownloadError as error:
            return self._cache.keep(entry, error.reason, error.detail)

    def _obtain(self, downloader: Downloader, product: Product, url: str, prior: CacheEntry | None) -> CacheEntry:
        """Return what the URL gives: from another product's download, or requested, one at a time."""
        product_id = product.product_id
        with self._requests.turn(url):
            if (shared := self._shared(product_id, url, prior)) is not None:
                return shared
            error, tried = self._requests.error(product_id, url), False
            if error is None:
                try:
                    return self._fetch(downloader, product_id, url, prior)
                except DownloadError as new:
                    error, tried = new, new.reason is not Reason.HOST_RESTING
                    self._requests.note(product_id, url, error)
            # The row of a product with other images may be that of one which is in use.
            if prior is None and not product.more_images:
                self._cache.fail(product_id, url, error.reason, error.detail, tried=tried)
            raise error

    def _shared(self, product_id: str, url: str, prior: CacheEntry | None) -> CacheEntry | None:
        """Return the row of the product with the file of another product's download of the URL; None without one."""
        shared = self._cache.find_shared(product_id, url)
        if shared is None or self._refetch.is_due(shared):
            return None
        if prior is not None and prior.sha256 == shared.sha256:
            return self._cache.confirm(prior, url)
        return self._cache.share(product_id, url, shared)

    def _fetch(self, downloader: Downloader, product_id: str, url: str, prior: CacheEntry | None) -> CacheEntry:
        temporary = self._cache.temporary_path()
        try:
            validators = (prior.etag, prior.last_modified) if prior is not None else ()
            download = downloader.fetch(url, temporary, *validators)
            if download is None:
                assert prior is not None, "without validators a server cannot answer that nothing changed"
                return self._cache.confirm(prior, url)
            return self._cache.store(product_id, url, temporary, download)
        finally:
            temporary.unlink(missing_ok=True)

    def _local(self, product: Product, image: str) -> UnreadFile | Skipped:
        if not (self._roots.has_own or is_unpacked(image)):
            detail = f"{redact(image)}: a catalog behind a URL has no folder; name one with --images-root"
            return _skipped(product, Reason.DISALLOWED, detail)
        path = self._roots.folders[0] / image
        try:
            path = self._find_local(image)
            if not path.exists() and (detail := self._explain_missing(image, redact(str(path)))):
                return _skipped(product, Reason.NOT_FOUND, detail)
            if not self._roots.contain(path):
                detail = "outside of the catalog's folder; name the image's folder with --images-root"
                return _skipped(product, Reason.DISALLOWED, f"{redact(str(path))}: {detail}")
        except (OSError, ValueError) as error:
            return unreadable(product, redact(str(path)), error)
        return UnreadFile(product, path)

    def _explain_missing(self, image: str, shown: str) -> str:
        """Return what may be meant by a path that names no file and is `shown` so; "" if nothing is known."""
        if known := self._names.describe(image):
            return f"{shown}: no such file, but {known}"
        url, is_certain = guess_url(image)
        first = image.partition("/")[0]
        if not url or (first and any((root / first).exists() for root in self._roots.folders)):
            return ""
        bare = redact(url).removeprefix("https:" if image.startswith("//") else "https://")  # without its query
        what = "a URL without its scheme; write" if is_certain else "no such file; if it is a URL, write"
        return f"{bare}: {what} {redact(url)}"

    def _find_local(self, image: str) -> Path:
        """Return the first existing path, else where it would be in the catalog's folder.

        Windows' separators are read as ours if nothing has the name as it is written.
        """
        names = [image]
        if "\\" in image and not _WINDOWS.match(image):
            names.append(PureWindowsPath(image).as_posix())
        for name in names:
            for root in self._roots.folders:
                if (path := root / name).exists():
                    return path
        return self._roots.folders[0] / names[-1]


def has_scheme(image: str) -> bool:
    """Whether an image is given as a URL, not as a path."""
    return _SCHEME.match(image) is not None


def is_text(text: str) -> bool:
    """Whether UTF-8 can encode it. JSON may contain a lone surrogate, which it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _image_file(product: Product, path: Path, sha256: bytes | None) -> ImageFile:
    assert sha256 is not None, "an image in the cache has a digest"
    return ImageFile(product, path, sha256)


def _skipped(product: Product, reason: Reason, detail: str) -> Skipped:
    return product.skipped(Stage.IMAGES, reason, detail)


def unreadable(product: Product, what: str, error: OSError | ValueError) -> Skipped:
    """Return why a file cannot be read; raise StorageError if no other file could be read either."""
    if isinstance(error, NotAFileError):
        return _skipped(product, Reason.NOT_AN_IMAGE, f"{what}: a folder or a device; name an image file")
    code = error.errno if isinstance(error, OSError) else errno.EINVAL  # NUL in a path is a ValueError
    if code in _MACHINE_ERRORS:
        raise StorageError(f"{what}: {_system_message(error)}; correct that and run again") from error
    if code in _DENIED:
        return _skipped(product, Reason.DISALLOWED, f"{what}: permission denied; change the file's permissions")
    if code in _MISSING:
        return _skipped(product, Reason.NOT_FOUND, f"{what}: no such file; correct the path, or put the file there")
    return _skipped(product, Reason.UNREADABLE, f"{what}: {_system_message(error)}; try again later")


def _system_message(error: OSError | ValueError) -> str:
    return ((error.strerror or "") if isinstance(error, OSError) else "").lower() or "cannot be read"
