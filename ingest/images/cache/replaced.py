"""Images that a run replaced: counted, to say what the user should know about them."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ingest.images import urls

if TYPE_CHECKING:
    from ingest.images.cache.entry import CacheEntry


class ReplacedImages:
    """Counts the downloads that took the place of an earlier image; for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._other_query = 0
        self._same_bytes = 0
        self._set_aside = 0

    def count(self, prior: CacheEntry | None, entry: CacheEntry) -> None:
        """Count a download, which has the row `entry`, if `prior` has an image of a URL with the same path."""
        if prior is None or prior.sha256 is None or not (prior.source_key and entry.source_key):
            return
        if prior.source_key == entry.source_key or not urls.same_path(prior.source_key, entry.source_key):
            return
        with self._lock:
            self._other_query += 1
            self._same_bytes += prior.sha256 == entry.sha256

    def set_aside(self) -> None:
        """Count an image that was put into the cache by hand and is kept under another name."""
        with self._lock:
            self._set_aside += 1

    def notes(self, images: int) -> list[str]:
        """Return what to tell the user after a run over a cache that has `images` from URLs."""
        notes = []
        if 2 * self._same_bytes > images:
            notes.append(
                f"{self._other_query:,} of {images:,} image URLs changed only after the path, and {self._same_bytes:,} "
                "of those images did not change; to download such images once, pass --url-key path"
            )
        if self._set_aside:
            what = "1 image" if self._set_aside == 1 else f"{self._set_aside:,} images"
            notes.append(
                f"{what} put into the cache by hand gave way to the image at the URL, and stays beside it as "
                "NAME.replaced"
            )
        return notes
