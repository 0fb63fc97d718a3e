"""What the cache's index records: a product's image, and the content of decoded bytes."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ingest.core.records import PickledByFields
from ingest.core.redaction import redact
from ingest.images import urls
from ingest.images.urls import UrlKey

if TYPE_CHECKING:
    import os


@dataclass(frozen=True, slots=True)
class ImageContent(PickledByFields):
    """What was seen when bytes were decoded: sides in pixels, and whether all of it is one colour."""

    width: int
    height: int
    blank: bool


@dataclass(frozen=True, slots=True)
class CacheEntry(PickledByFields):
    """A product's row in the index. The fields are the table's columns, in order.

    `source` is an absolute path, or a URL without its secrets; a URL also has `source_key`, its `urls.key`, and `host`.
    `file` is a name in the cache folder, None for a local image. `sha256` (32 bytes), `size` and `mtime_ns` describe
    the image's file and are None if there is none. `failure` is a `Reason`, None if the last try succeeded.
    `fetched_at`, in seconds since 1970, is when the image was last fetched, confirmed or failed. `tries` counts the
    downloads begun from this source; it is 0 for a local file, and for one that was put into the cache by hand.
    """

    product_id: str
    source: str
    source_key: bytes | None = None
    host: str | None = None
    file: str | None = None
    sha256: bytes | None = None
    size: int | None = None
    mtime_ns: int | None = None
    etag: str | None = None
    last_modified: str | None = None
    fetched_at: float = 0.0
    tries: int = 0
    failure: str | None = None
    detail: str = ""

    @classmethod
    def from_url(cls, product_id: str, url: str) -> CacheEntry:
        """Return a row for a URL, without its secrets and without a file."""
        return cls(product_id, redact(url), urls.key(url), urls.host(url), fetched_at=time.time())

    def with_file(self, name: str, sha256: bytes, status: os.stat_result) -> CacheEntry:
        """Return the row with its image's file, which is called `name` in the cache folder."""
        size, mtime_ns = status.st_size, status.st_mtime_ns
        return replace(self, file=name, sha256=sha256, size=size, mtime_ns=mtime_ns, fetched_at=time.time())

    @property
    def is_adopted(self) -> bool:
        """Whether the image was put into the cache by hand, for the URL that the catalog had then."""
        return self.file is not None and self.tries == 0

    @property
    def extension(self) -> str:
        """The file's extension."""
        return (self.file or "").rpartition(".")[2]

    def is_from(self, source: str, url_key: UrlKey = UrlKey.FULL) -> bool:
        """Whether the row is about this path, or a URL of the same image by `url_key`."""
        return self.source == source if self.source_key is None else url_key.matches(self.source_key, source)

    def is_unchanged(self, status: os.stat_result) -> bool:
        """Whether a file still has the size and mtime of the row."""
        return (self.size, self.mtime_ns) == (status.st_size, status.st_mtime_ns)
