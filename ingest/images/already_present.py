"""Images that are in place, found for a block of products at once: fetched before, or plain files. That is nearly all.

`ImageResolver` gives the same results but takes ten times as long per product, because it handles every other case too.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Product, Skipped
from ingest.images.resolver import UnreadFile, has_scheme, is_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.entry import CacheEntry
    from ingest.images.resolver import RefetchPolicy
    from ingest.images.roots import ImageRoots
    from ingest.images.unusable_images import UnusableImages

_FOLDERS = 4096  # remembered as inside or outside of the roots


class PresentImages:
    """Turns each Product whose image is in place into its ImageFile, or an UnreadFile if the index does not know it.

    Passes other records through. A Product that it passes is for `ImageResolver`, whose rules are the same: this class
    answers only if it is certain. For any number of threads. Raises StorageError if the index cannot be read.
    """

    def __init__(self, cache: ImageCache, roots: ImageRoots, refetch: RefetchPolicy) -> None:
        self._cache = cache
        self._folder = str(cache.folder)
        self._prefixes = [f"{folder}/" for folder in roots.folders]
        self._refetch = refetch
        self._is_inside = lru_cache(_FOLDERS)(roots.contain)

    def __call__(self, records: Sequence[Product | Skipped]) -> list[ImageFile | UnreadFile | Product | Skipped]:
        """Return the records in order, with the image in place of each product whose image is in place."""
        ids = [record.product_id for record in records if isinstance(record, Product) and is_text(record.product_id)]
        entries = self._cache.index.get_all(ids)
        return [self._find(record, entries.get(record.product_id)) or record for record in records]

    def first_usable(
        self, records: Sequence[Product | Skipped], unusable: UnusableImages, fields: Sequence[str]
    ) -> list[ImageFile | UnreadFile | Product | Skipped]:
        """Do the same, but pass over URLs that are known as `unusable` to the image in place; `fields` then name it."""
        found = self(records)
        later: dict[int, Product] = {}
        for at, record in enumerate(found):
            if isinstance(record, Product) and (product := _pass_over(record, unusable, fields)) is not record:
                later[at] = product
        for at, image in zip(later, self(list(later.values())) if later else (), strict=True):
            if isinstance(image, ImageFile):
                found[at] = image
        return found

    def _find(self, record: Product | Skipped, entry: CacheEntry | None) -> ImageFile | UnreadFile | None:
        if isinstance(record, Skipped):
            return None
        image = record.image.strip()
        return self._fetched(record, image, entry) if has_scheme(image) else self._local(record, image, entry)

    def _fetched(self, product: Product, url: str, entry: CacheEntry | None) -> ImageFile | None:
        """Return the image that was fetched from `url`, None if that is not certain."""
        # Whether the URL may be fetched at all was checked before the row was written.
        if entry is None or entry.sha256 is None or entry.file is None or entry.source_key is None:
            return None
        if self._refetch.is_due(entry) or not self._cache.url_key.matches(entry.source_key, url):
            return None
        path = f"{self._folder}/{entry.file}"
        try:
            status = os.stat(path)  # noqa: PTH116  making a Path takes as long as the rest
        except OSError:
            return None
        is_in_place = stat.S_ISREG(status.st_mode) and entry.is_unchanged(status)
        return ImageFile(product, Path(path), entry.sha256) if is_in_place else None

    def _local(self, product: Product, image: str, entry: CacheEntry | None) -> ImageFile | UnreadFile | None:
        """Return the local image, None if that is not certain."""
        name = image.removeprefix("./")
        is_clear = "\\" not in image and name.startswith("/") == image.startswith("/")  # .//a is not /a
        if not is_clear or not is_text(image) or not is_text(product.product_id):
            return None
        for prefix in self._prefixes:
            path = name if name.startswith("/") else prefix + name
            try:
                status = os.lstat(path)  # a link may lead out of the roots
            except FileNotFoundError:
                continue
            except (OSError, ValueError):
                return None
            if not stat.S_ISREG(status.st_mode) or not self._is_inside(os.path.dirname(path)):  # noqa: PTH120
                return None
            if entry is None or entry.sha256 is None or not _is_about(entry, path) or not entry.is_unchanged(status):
                return UnreadFile(product, Path(path), status.st_size)
            return ImageFile(product, Path(path), entry.sha256)
        return None


def _pass_over(product: Product, unusable: UnusableImages, fields: Sequence[str]) -> Product:
    """Return the product with its first image that is not a URL known as unusable."""
    while product.more_images and is_text(product.image) and has_scheme(url := product.image.strip()):
        if unusable.find_url(product, url) is None:
            break
        product = product.with_next_image(fields)
    return product


def _is_about(entry: CacheEntry, path: str) -> bool:
    return entry.source == path and entry.source_key is None and entry.file is None
