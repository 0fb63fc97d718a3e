"""Pictures that are in place already, told a block of products at a time: nearly all, every night but the first.

What `ImageResolver` would find out about one product costs ten times as much, most of it in ways that only the others
take.
"""

from __future__ import annotations

import os
import stat
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from ingest.core.records import ImageFile, Product, Skipped
from ingest.images import urls
from ingest.images.cache.cache import is_unchanged
from ingest.images.resolver import has_scheme, is_text

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ingest.images.cache.cache import ImageCache
    from ingest.images.cache.index import CacheEntry
    from ingest.images.resolver import RefetchPolicy

_FOLDERS = 4096  # whose place is remembered


class PresentImages:
    """Turns each Product whose picture is on disk as the index says into its ImageFile; passes every other record.

    A Product that it passes is `ImageResolver`'s to look at: only what is surely in place is told here, by the same
    rules. It may be called from many threads. Raises StorageError where the index cannot be read.
    """

    def __init__(self, cache: ImageCache, *roots: Path, again: RefetchPolicy) -> None:
        self._cache = cache
        self._folder = str(cache.folder)
        self._roots = [f"{root.absolute()}/" for root in roots]
        self._real_roots = [Path(os.path.realpath(root)) for root in roots]
        self._again = again
        self._is_inside = lru_cache(_FOLDERS)(self._leads_inside)

    def __call__(self, records: Sequence[Product | Skipped]) -> list[ImageFile | Product | Skipped]:
        """Return the records in their order, pictures in the place of products that have theirs."""
        ids = [record.product_id for record in records if isinstance(record, Product) and is_text(record.product_id)]
        entries = self._cache.index.get_all(ids)
        return [
            record
            if isinstance(record, Skipped) or (entry := entries.get(record.product_id)) is None
            else self._present(record, entry) or record
            for record in records
        ]

    def _present(self, product: Product, entry: CacheEntry) -> ImageFile | None:
        image = product.image.strip()
        path = self._fetched(image, entry) if has_scheme(image) else self._local(image, entry)
        if path is None or entry.sha256 is None:
            return None
        return ImageFile(product, Path(path), entry.sha256)

    def _fetched(self, url: str, entry: CacheEntry) -> str | None:
        """Return the path of the picture that was fetched from `url`, None where that has to be looked into."""
        # That the URL may be fetched at all was seen before the row was written.
        if entry.file is None or entry.source_key != urls.key(url) or self._again.wants(entry):
            return None
        path = f"{self._folder}/{entry.file}"
        return path if _is_in_place(entry, path, os.stat) else None

    def _local(self, image: str, entry: CacheEntry) -> str | None:
        """Return the path of the picture at `image`, None where that has to be looked into."""
        if entry.file is not None or entry.source_key is not None or "\\" in image:
            return None
        name = image.removeprefix("./")
        for root in self._roots:
            path = name if name.startswith("/") else root + name
            if path == entry.source:
                # A link would be followed, and may lead out of the roots.
                inside = _is_in_place(entry, path, os.lstat) and self._is_inside(os.path.dirname(path))  # noqa: PTH120
                return path if inside else None
            if os.path.exists(path):  # noqa: PTH110  a Path takes as long as the rest
                return None
        return None

    def _leads_inside(self, folder: str) -> bool:
        real = Path(os.path.realpath(folder))
        return any(real.is_relative_to(root) for root in self._real_roots)


def _is_in_place(entry: CacheEntry, path: str, look: Callable[[str], os.stat_result]) -> bool:
    try:
        about = look(path)
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(about.st_mode) and is_unchanged(entry, about)
