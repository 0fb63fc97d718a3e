"""The images stage: a product's picture as bytes on disk, local, from the cache or the network."""

from __future__ import annotations

import errno
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from ingest.core.errors import StorageError
from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.images.cache.cache import NotAFileError, is_of
from ingest.images.urls import DownloadError, host, plain, redact
from ingest.images.whatwg_url import parse

if TYPE_CHECKING:
    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.index import CacheEntry
    from ingest.images.http.download_policy import Downloader

# Two letters at least: `C:` is a drive. Without `//` only schemes that are well known, since a file may be
# called `12:30.jpg`.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://|(?:https?|ftps?|file|data|blob|about|javascript|s3|gs):", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")

# The run's own trouble, which every further product would meet as well.
_RUN_ENDS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_NO_SUCH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM})

_EARLIER = " (found by an earlier run; --retry-failed tries again)"


@dataclass(frozen=True, slots=True)
class RefetchPolicy:
    """What is asked for once more: what failed for good, and pictures fetched more than `older_than_s` ago."""

    failed: bool = False
    older_than_s: float | None = None

    def wants(self, entry: CacheEntry) -> bool:
        """Whether a fetched picture is to be compared with its source; one that was dropped in has none."""
        return self.older_than_s is not None and entry.tries > 0 and time.time() - entry.fetched_at >= self.older_than_s


class ImageResolver:
    """Turns a Product into its ImageFile, or into a Skipped that says why not; passes a Skipped through.

    It may be called from many threads. `downloader` is None where downloads are off. Local pictures must lie
    in one of the folders `roots`, of which the first, the catalog's if it has one, is where relative paths start from.
    Nothing that a product says raises; StorageError ends the run.
    """

    def __init__(
        self,
        cache: ImageCache,
        downloader: Downloader | None,
        *roots: Path,
        again: RefetchPolicy = RefetchPolicy(),
    ) -> None:
        self._cache = cache
        self._downloader = downloader
        self._roots = [root.absolute() for root in roots]
        self._real_roots = [Path(os.path.realpath(root)) for root in roots]
        self._again = again

    def __call__(self, record: Product | Skipped) -> ImageFile | Skipped:
        """Return the product's ImageFile, or a Skipped of `Stage.IMAGES`."""
        if isinstance(record, Skipped):
            return record
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

    def host(self, record: ImageFile | Product | Skipped) -> str | None:
        """Return the host that a product's picture would be fetched from, None for one that needs no network."""
        if self._downloader is None or not isinstance(record, Product):
            return None
        image = record.image.strip()
        return host(image) or None if image[:4].lower() == "http" else None

    def _remote(self, product: Product, url: str) -> ImageFile | Skipped:
        if url[:5].lower() == "file:":
            raise DownloadError(Reason.DISALLOWED, f"{plain(url)}: not fetched; write the path without file:")
        parse(url)
        try:
            entry = self._cache.find(product.product_id, url)
        except OSError as error:
            return _unreadable(product, f"the cached picture of {redact(url)}", error)
        if self._downloader is None:
            if entry is None:
                detail = f"{redact(url)}: not in the cache; pass --download-missing"
                return _skipped(product, Reason.NOT_DOWNLOADED, detail)
        elif entry is None:
            self._check_failed(product.product_id, url)
            entry = self._fetched(self._downloader, product.product_id, url, None)
        elif self._again.wants(entry):
            entry = self._refreshed(self._downloader, product.product_id, url, entry)
        return _picture(product, self._cache.path(entry), entry.sha256)

    def _check_failed(self, product_id: str, url: str) -> None:
        """Raise what an earlier run found about this URL where no later one will find better."""
        entry = self._cache.get(product_id)
        if self._again.failed or entry is None or entry.failure is None or not is_of(entry, url):
            return
        reason = Reason(entry.failure)
        if not (reason.is_transient or reason.depends_on_settings):
            earlier = entry.detail.removesuffix(_EARLIER)
            raise DownloadError(reason, f"{earlier}{_EARLIER}")

    def _refreshed(self, downloader: Downloader, product_id: str, url: str, entry: CacheEntry) -> CacheEntry:
        """Ask whether the picture is still the same; where that cannot be learnt, it stays in use."""
        try:
            return self._fetched(downloader, product_id, url, entry)
        except DownloadError as error:
            return self._cache.keep(entry, error.reason, error.detail)

    def _fetched(self, downloader: Downloader, product_id: str, url: str, prior: CacheEntry | None) -> CacheEntry:
        temporary = self._cache.temporary()
        try:
            validators = (prior.etag, prior.last_modified) if prior is not None else ()
            got = downloader.fetch(url, temporary, *validators)
            if got is None:
                assert prior is not None, "without validators a server cannot say that nothing changed"
                return self._cache.confirm(prior)
            return self._cache.store(
                product_id,
                url,
                temporary,
                sha256=got.sha256,
                extension=got.extension,
                etag=got.etag,
                last_modified=got.last_modified,
            )
        except DownloadError as error:
            if prior is None:
                tried = error.reason is not Reason.HOST_RESTING
                self._cache.fail(product_id, url, error.reason, error.detail, tried=tried)
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def _local(self, product: Product, image: str) -> ImageFile | Skipped:
        if not self._roots:
            raise DownloadError(
                Reason.DISALLOWED, f"{plain(image)}: a catalog behind a URL has no folder; name one with --images-root"
            )
        path = self._roots[0] / image
        try:
            path = self._existing(image)
            self._check_place(path)
            entry = self._cache.local(product.product_id, path)
        except (OSError, ValueError) as error:
            return _unreadable(product, plain(str(path)), error)
        return _picture(product, path, entry.sha256)

    def _check_place(self, path: Path) -> None:
        """Raise DownloadError for a path that leads out of the roots, through `..` or a link as well."""
        real = Path(os.path.realpath(path))
        if not any(real.is_relative_to(root) for root in self._real_roots):
            raise DownloadError(
                Reason.DISALLOWED,
                f"{plain(str(path))}: outside of the catalog's folder; name its folder with --images-root",
            )

    def _existing(self, image: str) -> Path:
        """Return the first path that is there; where none is, the one as written, from the catalog's folder.

        Where nothing has the name as written, Windows' separators are read as ours.
        """
        names = [image]
        if "\\" in image and not _WINDOWS.match(image):
            names.append(PureWindowsPath(image).as_posix())
        paths = [root / name for name in names for root in self._roots]
        return next((path for path in paths if path.exists()), paths[len(self._roots) * (len(names) - 1)])


def has_scheme(image: str) -> bool:
    """Whether an image is a URL, and no path."""
    return _SCHEME.match(image) is not None


def is_text(text: str) -> bool:
    """Whether UTF-8 can hold it; a lone surrogate, which JSON can carry, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _picture(product: Product, path: Path, sha256: bytes | None) -> ImageFile:
    assert sha256 is not None, "a found or fetched picture has a digest"
    return ImageFile(product, path, sha256)


def _skipped(product: Product, reason: Reason, detail: str) -> Skipped:
    return product.skipped(Stage.IMAGES, reason, detail)


def _unreadable(product: Product, what: str, error: OSError | ValueError) -> Skipped:
    """Say why a file cannot be read; raise StorageError where no file could be."""
    if isinstance(error, NotAFileError):
        return _skipped(product, Reason.NOT_AN_IMAGE, f"{what}: a folder or a device; name a picture's file")
    code = error.errno if isinstance(error, OSError) else errno.EINVAL  # NUL in a path is a ValueError
    if code in _RUN_ENDS:
        raise StorageError(f"{what}: {_words(error)}; see to the machine and run again") from error
    if code in _NO_RIGHT:
        return _skipped(product, Reason.DISALLOWED, f"{what}: no right to read it; change the file's permissions")
    if code in _NO_SUCH:
        return _skipped(product, Reason.NOT_FOUND, f"{what}: no such file; correct the path or put it there")
    return _skipped(product, Reason.UNREADABLE, f"{what}: {_words(error)}; try again later")


def _words(error: OSError | ValueError) -> str:
    return ((error.strerror or "") if isinstance(error, OSError) else "").lower() or "cannot be read"
