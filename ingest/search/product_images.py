"""Images around a search: those of hits, from the cache and the catalog's folders, and one fetched for a query."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ingest.core.errors import QueryError
from ingest.images.cache.cache import INDEX
from ingest.images.cache.index import ImageIndex, open_read_only
from ingest.images.decode.decoder import open_rgb
from ingest.images.decode.errors import UndecodableError
from ingest.images.roots import image_roots
from ingest.images.stage import download_policy
from ingest.images.urls import DownloadError, UrlKey, host, key

if TYPE_CHECKING:
    from PIL.Image import Image

    from ingest.core.settings import Settings
    from ingest.images.decode.decoder import DecodeSandbox

_QUALITY = 80


def fetch_image(url: str, settings: Settings, folder: Path) -> Path:
    """Download an image into `folder`, by the same rules as the catalog's; raises QueryError if that fails."""
    from ingest.images.http.downloader import Downloader

    path = folder / key(url).hex()
    try:
        with Downloader(download_policy(settings)) as downloader:
            downloader.fetch(url, path)
    except DownloadError as error:
        raise QueryError(f"{error.reason}: {error.detail}") from error
    return path


class ProductImages:
    """Finds products' images on this machine, from any number of threads; downloads and writes nothing.

    Paths from the collection are followed only if they lead into the cache or the catalog's folders. A context manager
    that closes the cache's index.
    """

    def __init__(self, settings: Settings) -> None:
        self._cache = settings.data / "image_cache"
        index = self._cache / INDEX
        self._index = ImageIndex(index, open_read_only) if index.is_file() else None
        self._roots = image_roots(settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def path(self, product_id: str, image: str) -> Path | None:
        """Return the file of the product's `image`, a URL or a path; None if it is not on this machine."""
        try:
            found = self._cached(product_id, image) if host(image) else self._local(image)
            return found if found is not None and found.is_file() else None
        except (OSError, ValueError):  # not a possible file name
            return None

    def close(self) -> None:
        """Close the cache's index."""
        if self._index is not None:
            self._index.close()

    def _cached(self, product_id: str, url: str) -> Path | None:
        entry = self._index.get(product_id) if self._index is not None else None
        if entry is None or entry.file is None or not entry.is_from(url, UrlKey.PATH):
            return None
        return self._cache / entry.file

    def _local(self, image: str) -> Path | None:
        names = (image, image.replace("\\", "/"))
        paths = (Path(os.path.realpath(root / name)) for name in names if name for root in self._roots.folders)
        return next((path for path in paths if path.is_file() and self._roots.contain(path)), None)


def thumbnail(path: Path, side: int, sandbox: DecodeSandbox | None = None) -> Image | None:
    """Return an image scaled to fit into `side` × `side` pixels, RGB and upright; None if it cannot be decoded."""
    try:
        image = open_rgb(path, sandbox)
    except UndecodableError:
        return None
    image.thumbnail((side, side))
    return image


def jpeg(image: Image) -> bytes:
    """Return an image as the bytes of a JPEG."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
