"""The images stage as the settings want it: its downloader, what is fetched again, and how hosts share the workers."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar

from ingest.catalog.files import folder_of
from ingest.core.records import ImageFile, Product, Reason, Stage
from ingest.images.already_present import PresentImages
from ingest.images.decode.decoder import Decoder
from ingest.images.decode.sandbox import Sandbox
from ingest.images.http import headers
from ingest.images.http.addresses import address_policy
from ingest.images.http.download_policy import Downloader, DownloadPolicy
from ingest.images.quality import Inspector, QualityFilter
from ingest.images.resolver import ImageResolver, RefetchPolicy
from ingest.runtime import parallel
from ingest.runtime.profiler import StageProfiler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.decoder import DecodedFile, UndecodableError

T = TypeVar("T")

# Not what is too large: that is a matter of --max-pixels and of memory, and the bytes are good.
_OF_CONTENT = frozenset({Reason.NOT_AN_IMAGE, Reason.TRUNCATED})

_BLOCK = 128  # products looked up together

AHEAD = 8192
"""Products fetched or waiting before the one that is due: while a slow host works on it, the others go on."""


class ImageStage:
    """Fetches the pictures of products as `settings` say; a context manager that closes all connections."""

    def __init__(self, settings: Settings, cache: ImageCache, clock: StageProfiler | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._clock = clock or StageProfiler()
        self._again = RefetchPolicy(settings.retry_failed, settings.refresh_after_s)
        self._downloader = Downloader(download_policy(settings)) if settings.download_missing else None
        self._sandbox = Sandbox()
        quality_filter = QualityFilter(settings.min_side, settings.skip_blank)
        self._inspect = Inspector(cache, quality_filter, self._sandbox, settings.max_pixels)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._sandbox)
        if self._downloader is not None:
            self._stack.enter_context(self._downloader)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pictures(self, products: Iterable[Product | Skipped], *, download: bool) -> Iterator[ImageFile | Skipped]:
        """Turn products into pictures on disk, in order; a `Skipped` passes."""
        settings = self._settings
        roots = [root for root in (folder_of(settings.catalog), settings.images_root) if root]
        present = PresentImages(self._cache, *roots, again=self._again)
        fetch = ImageResolver(self._cache, self._downloader if download else None, *roots, again=self._again)

        def told(block: list[Product | Skipped]) -> list[ImageFile | Product | Skipped]:
            return [self._inspect(record) if isinstance(record, ImageFile) else record for record in present(block)]

        def fetched(record: ImageFile | Product | Skipped) -> ImageFile | Skipped:
            return self._inspect(fetch(record)) if isinstance(record, Product) else record

        # By blocks: to hand a product to another thread takes longer than to see that its picture is in place.
        blocks = parallel.parallel_map(
            self._clock.timed(Stage.IMAGES, told, list, lambda block: _named(block[0])),
            parallel.batched(products, _BLOCK),
            workers=settings.download_workers,
            ahead=AHEAD // _BLOCK,
        )
        return parallel.parallel_map_by_key(
            self._clock.timed(Stage.IMAGES, fetched, Product, _named),
            _each(blocks),
            key=fetch.host,
            workers=settings.download_workers,
            at_once=settings.download_per_host,
            ahead=AHEAD,
            here=_is_told,
        )

    def decoder(self, preprocess: Callable[..., NDArray[np.uint8]], least: int = 0) -> Decoder:
        """Return the decode stage, which writes down what it sees and which fetched pictures are none.

        `least` is the shorter side that is enough for `preprocess`; with `--exact` all pixels are decoded.
        """

        def seen(picture: ImageFile, opened: DecodedFile) -> None:
            if self._cache.index.content(picture.sha256) is None:
                self._cache.index.put_content(picture.sha256, self._inspect.content(picture, opened))

        def failed(picture: ImageFile, error: UndecodableError) -> None:
            if error.reason in _OF_CONTENT:
                self._cache.reject(picture.product.product_id, picture.sha256, error.reason, error.detail)

        settings = self._settings
        return Decoder(preprocess, self._sandbox, seen, failed, 0 if settings.exact else least, settings.max_pixels)


def download_policy(settings: Settings) -> DownloadPolicy:
    """Return the settings that downloads follow; raises ConfigError for a file of headers that cannot be used."""
    asked = DownloadPolicy(
        read_s=settings.download_timeout,
        deadline_s=settings.download_deadline,
        tries=settings.download_tries,
        max_bytes=settings.max_image_bytes,
        at_once=settings.download_per_host,
        border=address_policy(settings.allow_host, allow_private=settings.allow_private),
    )
    if settings.user_agent:
        asked = replace(asked, user_agent=settings.user_agent)
    if settings.host_headers:
        asked = replace(asked, host_headers=headers.read(settings.host_headers))
    return asked


def _each(blocks: Generator[list[T], None, None]) -> Generator[T, None, None]:
    """Yield what is in the blocks; one that is closed closes them."""
    with closing(blocks):
        for block in blocks:
            yield from block


def _named(record: ImageFile | Product | Skipped) -> str:
    return record.product.product_id if isinstance(record, ImageFile) else record.product_id


def _is_told(record: ImageFile | Product | Skipped) -> bool:
    return not isinstance(record, Product)
