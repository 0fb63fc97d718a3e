"""Images that are already in place, found for a block of products at once. After the first run that is nearly all.

`ImageResolver` gives the same results but takes ten times as long per product, because it handles every other case too.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Product, Skipped
from ingest.images.resolver import has_scheme, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.entry import CacheEntry
    from ingest.images.resolver import RefetchPolicy
    from ingest.images.roots import ImageRoots

_FOLDERS = 4096  # remembered as inside or outside of the roots


class PresentImages:
    """Turns each Product whose image is in place, as the index says, into its ImageFile; passes other records through.

    A Product that it passes is for `ImageResolver`, whose rules are the same: this class answers only if it is certain.
    For any number of threads. Raises StorageError if the index cannot be read.
    """

    def __init__(self, cache: ImageCache, roots: ImageRoots, refetch: RefetchPolicy) -> None:
        self._cache = cache
        self._folder = str(cache.folder)
        self._prefixes = [f"{folder}/" for folder in roots.folders]
        self._refetch = refetch
        self._is_inside = lru_cache(_FOLDERS)(roots.contain)

    def __call__(self, records: Sequence[Product | Skipped]) -> list[ImageFile | Product | Skipped]:
        """Return the records in order, with an ImageFile in place of each product whose image is in place."""
        ids = [record.product_id for record in records if isinstance(record, Product) and is_text(record.product_id)]
        entries = self._cache.index.get_all(ids)
        return [self._find(record, entries.get(record.product_id)) or record for record in records]

    def _find(self, record: Product | Skipped, entry: CacheEntry | None) -> ImageFile | None:
        if isinstance(record, Skipped) or entry is None or entry.sha256 is None:
            return None
        image = record.image.strip()
        path = self._fetched(image, entry) if has_scheme(image) else self._local(image, entry)
        return None if path is None else ImageFile(record, Path(path), entry.sha256)

    def _fetched(self, url: str, entry: CacheEntry) -> str | None:
        """Return the path of the image that was fetched from `url`, None if that is not certain."""
        # Whether the URL may be fetched at all was checked before the row was written.
        if entry.file is None or entry.source_key is None or self._refetch.is_due(entry):
            return None
        if not self._cache.url_key.matches(entry.source_key, url):
            return None
        path = f"{self._folder}/{entry.file}"
        return path if _is_in_place(entry, path, os.stat) else None

    def _local(self, image: str, entry: CacheEntry) -> str | None:
        """Return the path of the local image, None if that is not certain."""
        if entry.file is not None or entry.source_key is not None or "\\" in image:
            return None
        name = image.removeprefix("./")
        for prefix in self._prefixes:
            path = name if name.startswith("/") else prefix + name
            if path == entry.source:
                # lstat, because a link may lead out of the roots.
                inside = _is_in_place(entry, path, os.lstat) and self._is_inside(os.path.dirname(path))  # noqa: PTH120
                return path if inside else None
            if os.path.exists(path):  # noqa: PTH110  making a Path takes as long as the rest
                return None
        return None


def _is_in_place(entry: CacheEntry, path: str, read_status: Callable[[str], os.stat_result]) -> bool:
    try:
        status = read_status(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(status.st_mode) and entry.is_unchanged(status)
