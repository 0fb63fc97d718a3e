"""The images stage: a product's picture as bytes on disk, local, from the cache or the network."""

from __future__ import annotations

import errno
import re
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING

from ingest.errors import StorageError
from ingest.images.cache import NotAFileError
from ingest.images.urls import DownloadError, check, plain, shown
from ingest.records import Picture, Reason, Skipped, Stage

if TYPE_CHECKING:
    from ingest.images.cache import Cache
    from ingest.images.download import Downloader
    from ingest.images.index import Entry
    from ingest.records import Product

# Two letters at least: `C:` is a drive. Without `//` only schemes that are well known, since a file may be
# called `12:30.jpg`.
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://|(?:https?|ftps?|file|data|blob|about|javascript|s3|gs):", re.IGNORECASE)
_WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")

# The run's own trouble, which every further product would meet as well.
_RUN_ENDS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM})
_NO_SUCH = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL})
_NO_RIGHT = frozenset({errno.EACCES, errno.EPERM})


class Fetcher:
    """Turns a Product into its Picture, or into a Skipped that says why not; passes a Skipped through.

    For `flow.pmap`: it may be called from many threads. `downloader` is None where downloads are off; `root`
    is the catalog's folder, which relative paths start from. Nothing that a product says raises; StorageError
    ends the run.
    """

    def __init__(self, cache: Cache, downloader: Downloader | None, root: Path) -> None:
        self._cache = cache
        self._downloader = downloader
        self._root = root.absolute()

    def __call__(self, record: Product | Skipped) -> Picture | Skipped:
        """Return the product's Picture, or a Skipped of `Stage.IMAGES`."""
        if isinstance(record, Skipped):
            return record
        image = record.image.strip()
        if not _is_text(record.product_id) or not _is_text(image):
            return _skipped(record, Reason.BAD_ROW, "the id or the image is not valid Unicode; correct the row")
        if not image:
            return _skipped(record, Reason.NO_IMAGE, "the row names no image; give it a path or a URL")
        try:
            if _SCHEME.match(image):
                return self._remote(record, image)
            return self._local(record, image)
        except DownloadError as error:
            return _skipped(record, error.reason, error.detail)

    def _remote(self, product: Product, url: str) -> Picture | Skipped:
        if url[:5].lower() == "file:":
            raise DownloadError(Reason.REFUSED, f"{plain(url)}: not fetched; write the path without file:")
        check(url)
        try:
            entry = self._cache.find(product.product_id, url)
        except OSError as error:
            return _unreadable(product, f"the cached picture of {shown(url)}", error)
        if entry is None:
            if self._downloader is None:
                detail = f"{shown(url)}: not in the cache; pass --download-missing"
                return _skipped(product, Reason.NOT_DOWNLOADED, detail)
            entry = self._fetched(self._downloader, product.product_id, url)
        return _picture(product, self._cache.path(entry), entry.sha256)

    def _fetched(self, downloader: Downloader, product_id: str, url: str) -> Entry:
        temporary = self._cache.temporary()
        try:
            got = downloader.fetch(url, temporary)
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
            self._cache.fail(product_id, url, error.reason, error.detail)
            raise
        finally:
            temporary.unlink(missing_ok=True)

    def _local(self, product: Product, image: str) -> Picture | Skipped:
        path = self._root / image
        try:
            path = self._existing(image)
            entry = self._cache.local(product.product_id, path)
        except (OSError, ValueError) as error:
            return _unreadable(product, plain(str(path)), error)
        return _picture(product, path, entry.sha256)

    def _existing(self, image: str) -> Path:
        """Return the path as written or, where nothing is there, with Windows' separators read as ours."""
        path = self._root / image
        if "\\" in image and not _WINDOWS.match(image) and not path.exists():
            return self._root / PureWindowsPath(image).as_posix()
        return path


def _is_text(text: str) -> bool:
    """Whether UTF-8 can hold it; a lone surrogate, which JSON can carry, it cannot."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _picture(product: Product, path: Path, sha256: bytes | None) -> Picture:
    assert sha256 is not None, "a found or fetched picture has a digest"
    return Picture(product, path, sha256)


def _skipped(product: Product, reason: Reason, detail: str) -> Skipped:
    return Skipped(product.product_id, Stage.IMAGES, reason, detail, product.line)


def _unreadable(product: Product, what: str, error: OSError | ValueError) -> Skipped:
    """Say why a file cannot be read; raise StorageError where no file could be."""
    if isinstance(error, NotAFileError):
        return _skipped(product, Reason.NOT_AN_IMAGE, f"{what}: a folder or a device; name a picture's file")
    code = error.errno if isinstance(error, OSError) else errno.EINVAL  # NUL in a path is a ValueError
    if code in _RUN_ENDS:
        raise StorageError(f"{what}: {_words(error)}; see to the machine and run again") from error
    if code in _NO_RIGHT:
        return _skipped(product, Reason.REFUSED, f"{what}: no right to read it; change the file's permissions")
    if code in _NO_SUCH:
        return _skipped(product, Reason.NOT_FOUND, f"{what}: no such file; correct the path or put it there")
    return _skipped(product, Reason.UNREACHABLE, f"{what}: {_words(error)}; try again later")


def _words(error: OSError | ValueError) -> str:
    return ((error.strerror or "") if isinstance(error, OSError) else "").lower() or "cannot be read"
