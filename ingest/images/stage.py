"""The images stage of the pipeline: products become images on disk, in blocks and by host, as the settings say."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar

from ingest.core.records import ImageFile, Product, Reason, Stage
from ingest.images.already_present import PresentImages
from ingest.images.decode.sandbox import Sandbox
from ingest.images.decode.stage import Decoder
from ingest.images.http import headers
from ingest.images.http.addresses import address_policy
from ingest.images.http.download_policy import DownloadPolicy
from ingest.images.http.downloader import Downloader
from ingest.images.quality import Inspector, QualityFilter
from ingest.images.resolver import ImageResolver, RefetchPolicy
from ingest.images.roots import image_roots
from ingest.runtime import parallel
from ingest.runtime.profiler import StageProfiler

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.decoder import DecodedFile
    from ingest.images.decode.errors import UndecodableError

T = TypeVar("T")

# The bytes themselves are bad. TOO_LARGE is missing: it depends on --max-pixels and on memory.
_BAD_CONTENT = frozenset({Reason.NOT_AN_IMAGE, Reason.TRUNCATED})

_BLOCK = 128  # products looked up together

AHEAD = 8192
"""Products fetched before the one whose turn it is, so that a slow host does not hold up the others."""


class ImageStage:
    """Finds the images of products, as `settings` say; a context manager that closes all connections."""

    def __init__(self, settings: Settings, cache: ImageCache, profiler: StageProfiler | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._profiler = profiler or StageProfiler()
        self._refetch = RefetchPolicy(settings.retry_failed, settings.refresh_after_s)
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

    def find(self, products: Iterable[Product | Skipped], *, download: bool) -> Iterator[ImageFile | Skipped]:
        """Turn products into images on disk, in order; pass a `Skipped` through."""
        settings = self._settings
        roots = image_roots(settings)
        present = PresentImages(self._cache, roots, self._refetch)
        resolver = ImageResolver(self._cache, self._downloader if download else None, roots, self._refetch)

        def find_present(block: list[Product | Skipped]) -> list[ImageFile | Product | Skipped]:
            return [self._inspect(record) if isinstance(record, ImageFile) else record for record in present(block)]

        def resolve(record: ImageFile | Product | Skipped) -> ImageFile | Skipped:
            return self._inspect(resolver(record)) if isinstance(record, Product) else record

        # In blocks: handing a product to another thread takes longer than checking that its image is in place.
        blocks = parallel.parallel_map(
            self._profiler.timed(Stage.IMAGES, find_present, list, lambda block: _product_id(block[0])),
            parallel.batched(products, _BLOCK),
            workers=settings.download_workers,
            ahead=AHEAD // _BLOCK,
        )
        return parallel.parallel_map_by_key(
            self._profiler.timed(Stage.IMAGES, resolve, Product, _product_id),
            _flatten(blocks),
            key=resolver.host,
            workers=settings.download_workers,
            at_once=settings.download_per_host,
            ahead=AHEAD,
            here=_is_resolved,
        )

    def decoder(self, preprocess: Callable[..., NDArray[np.uint8]], draft_side: int = 0) -> Decoder:
        """Return the decode stage, which records image sizes, and removes downloads that are not images.

        `draft_side` is the shorter side that is enough for `preprocess`; with `--exact` all pixels are decoded.
        """

        def record_content(image: ImageFile, decoded: DecodedFile) -> None:
            if self._cache.index.content(image.sha256) is None:
                self._cache.index.put_content(image.sha256, self._inspect.content(image, decoded))

        def reject(image: ImageFile, error: UndecodableError) -> None:
            if error.reason in _BAD_CONTENT:
                self._cache.reject(image.product.product_id, image.sha256, error.reason, error.detail)

        return Decoder(
            preprocess,
            self._sandbox,
            draft_side=0 if self._settings.exact else draft_side,
            max_pixels=self._settings.max_pixels,
            on_decoded=record_content,
            on_failed=reject,
        )


def download_policy(settings: Settings) -> DownloadPolicy:
    """Return the policy that the settings give; raises ConfigError if the file of headers cannot be used."""
    policy = DownloadPolicy(
        read_s=settings.download_timeout,
        deadline_s=settings.download_deadline,
        tries=settings.download_tries,
        max_bytes=settings.max_image_bytes,
        at_once=settings.download_per_host,
        addresses=address_policy(settings.allow_host, allow_private=settings.allow_private),
    )
    if settings.user_agent:
        policy = replace(policy, user_agent=settings.user_agent)
    if settings.host_headers:
        policy = replace(policy, host_headers=headers.read(settings.host_headers))
    return policy


def _flatten(blocks: Generator[list[T], None, None]) -> Generator[T, None, None]:
    """Yield the items of the blocks; closing this generator closes `blocks` too."""
    with closing(blocks):
        for block in blocks:
            yield from block


def _product_id(record: ImageFile | Product | Skipped) -> str:
    return record.product.product_id if isinstance(record, ImageFile) else record.product_id


def _is_resolved(record: ImageFile | Product | Skipped) -> bool:
    return not isinstance(record, Product)
