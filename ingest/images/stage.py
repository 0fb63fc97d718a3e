"""The images stage as the settings want it: its downloader, what is fetched again, and how hosts share the workers."""

from __future__ import annotations

from contextlib import ExitStack, closing
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar

from ingest.catalog.files import folder_of
from ingest.core.records import Picture, Product, Reason, Stage
from ingest.images.already_present import Present
from ingest.images.decode.decoder import Decoder
from ingest.images.decode.sandbox import Sandbox
from ingest.images.http import headers
from ingest.images.http.addresses import border
from ingest.images.http.download_policy import Downloader, Policy
from ingest.images.quality import Inspector, Wish
from ingest.images.resolver import Again, Fetcher
from ingest.runtime import parallel
from ingest.runtime.profiler import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    import numpy as np
    from numpy.typing import NDArray

    from ingest.core.records import Skipped
    from ingest.core.settings import Settings
    from ingest.images.cache.cache import Cache
    from ingest.images.decode.decoder import Opened, UndecodableError

T = TypeVar("T")

# Not what is too large: that is a matter of --max-pixels and of memory, and the bytes are good.
_OF_CONTENT = frozenset({Reason.NOT_AN_IMAGE, Reason.TRUNCATED})

_BLOCK = 128  # products looked up together

AHEAD = 8192
"""Products fetched or waiting before the one that is due: while a slow host works on it, the others go on."""


class Images:
    """Fetches the pictures of products as `settings` say; a context manager that closes all connections."""

    def __init__(self, settings: Settings, cache: Cache, clock: Clock | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self._clock = clock or Clock()
        self._again = Again(settings.retry_failed, settings.refresh_after_s)
        self._downloader = Downloader(policy(settings)) if settings.download_missing else None
        self._sandbox = Sandbox()
        wish = Wish(settings.min_side, settings.skip_blank)
        self._inspect = Inspector(cache, wish, self._sandbox, settings.max_pixels)
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        self._stack.enter_context(self._sandbox)
        if self._downloader is not None:
            self._stack.enter_context(self._downloader)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def pictures(self, products: Iterable[Product | Skipped], *, download: bool) -> Iterator[Picture | Skipped]:
        """Turn products into pictures on disk, in order; a `Skipped` passes."""
        settings = self._settings
        roots = [root for root in (folder_of(settings.catalog), settings.images_root) if root]
        present = Present(self._cache, *roots, again=self._again)
        fetch = Fetcher(self._cache, self._downloader if download else None, *roots, again=self._again)

        def told(block: list[Product | Skipped]) -> list[Picture | Product | Skipped]:
            return [self._inspect(record) if isinstance(record, Picture) else record for record in present(block)]

        def fetched(record: Picture | Product | Skipped) -> Picture | Skipped:
            return self._inspect(fetch(record)) if isinstance(record, Product) else record

        # By blocks: to hand a product to another thread takes longer than to see that its picture is in place.
        blocks = parallel.pmap(
            self._clock.timed(Stage.IMAGES, told, list, lambda block: _named(block[0])),
            parallel.batched(products, _BLOCK),
            workers=settings.download_workers,
            ahead=AHEAD // _BLOCK,
        )
        return parallel.spread(
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

        def seen(picture: Picture, opened: Opened) -> None:
            if self._cache.index.content(picture.sha256) is None:
                self._cache.index.put_content(picture.sha256, self._inspect.content(picture, opened))

        def failed(picture: Picture, error: UndecodableError) -> None:
            if error.reason in _OF_CONTENT:
                self._cache.reject(picture.product.product_id, picture.sha256, error.reason, error.detail)

        settings = self._settings
        return Decoder(preprocess, self._sandbox, seen, failed, 0 if settings.exact else least, settings.max_pixels)


def policy(settings: Settings) -> Policy:
    """Return the settings that downloads follow; raises ConfigError for a file of headers that cannot be used."""
    asked = Policy(
        read_s=settings.download_timeout,
        deadline_s=settings.download_deadline,
        tries=settings.download_tries,
        max_bytes=settings.max_image_bytes,
        at_once=settings.download_per_host,
        border=border(settings.allow_host, allow_private=settings.allow_private),
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


def _named(record: Picture | Product | Skipped) -> str:
    return record.product.product_id if isinstance(record, Picture) else record.product_id


def _is_told(record: Picture | Product | Skipped) -> bool:
    return not isinstance(record, Product)
