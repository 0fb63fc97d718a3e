"""The images stage of the pipeline: products become images on disk, in blocks and by host, as the settings say."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Self, TypeVar

from ingest.core.records import ImageFile, Product, Reason, Skipped, Stage
from ingest.images.already_present import PresentImages
from ingest.images.candidates import FirstUsable
from ingest.images.decode.in_processes import PROGRAM, ProcessDecoder, uses_processes
from ingest.images.decode.model_pixels import ModelPixels
from ingest.images.decode.on_threads import ThreadDecoder
from ingest.images.decode.sandbox import Sandbox
from ingest.images.decode.stage import Decoder
from ingest.images.http import headers
from ingest.images.http.addresses import address_policy
from ingest.images.http.download_policy import DownloadPolicy
from ingest.images.http.downloader import Downloader
from ingest.images.quality import Inspector, QualityFilter
from ingest.images.resolver import ImageResolver, RefetchPolicy, UnreadFile
from ingest.images.roots import image_roots
from ingest.images.unread_files import UnreadFiles, none_is_known
from ingest.images.unusable_images import UnusableImages, has_several
from ingest.runtime import parallel
from ingest.runtime.profiler import StageProfiler
from ingest.runtime.worker_processes import WorkerProcesses

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from ingest.core.records import Decoded, Embedded
    from ingest.core.settings import Settings
    from ingest.embedding.preprocess import Preprocessing
    from ingest.images.cache.cache import ImageCache
    from ingest.images.decode.base import BlockDecoder
    from ingest.images.decode.errors import UndecodableError
    from ingest.images.unread_files import IsKnown

T = TypeVar("T")

# The bytes themselves are bad. TOO_LARGE is missing: it depends on --max-pixels and on memory.
_BAD_CONTENT = frozenset({Reason.NOT_AN_IMAGE, Reason.TRUNCATED})

_BLOCK = 128  # products looked up together
# Images read or decoded together: how many, of how many bytes, and how long the first of them may wait. Who ends a run
# waits for such a block.
_TOGETHER, _TOGETHER_BYTES, _TOGETHER_S = 32, 8 * 2**20, 0.05

_SLOW_S = 0.5e-3  # for a look at a product's file; a local disk takes a twentieth

AHEAD = 8192
"""Products fetched before the one whose turn it is, so that a slow host does not hold up the others."""


class ImageStage:
    """Finds the images of products, as `settings` say; a context manager that closes all connections.

    A product's metadata names its image under `fields`. The run `began` now, or at this time in seconds since 1970.
    """

    def __init__(
        self, settings: Settings, cache: ImageCache, profiler: StageProfiler | None = None,
        fields: Sequence[str] = ("image",), began: float | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._cache = cache
        self._fields = fields
        self._profiler = profiler or StageProfiler()
        self._refetch = RefetchPolicy(settings.retry_failed, settings.refresh_after_s, began or time.time())
        self._unusable = UnusableImages(cache, settings)
        self._downloader = Downloader(download_policy(settings)) if settings.download_missing else None
        self._sandbox = Sandbox()
        self._in_processes = uses_processes(settings)
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

    @property
    def decode_workers(self) -> int:
        """How many images are decoded at the same time; processes leave a core to the run's own."""
        cores = os.cpu_count() or 1
        return self._settings.decode_workers or (max(1, cores - 1) if self._in_processes else cores)

    @property
    def _decode_threads(self) -> int:
        """The threads that decode, or that wait for processes: some more, so that none waits for what it gave."""
        return self.decode_workers + (1 + self.decode_workers // 8 if self._in_processes else 0)

    def find(
        self,
        products: Iterable[Product | Skipped],
        *,
        download: bool,
        decoder: Decoder | None = None,
        is_known: IsKnown = none_is_known,
    ) -> Iterator[ImageFile | Skipped]:
        """Turn products into images on disk, in order; pass a `Skipped` through.

        With a `decoder`, local files that must be read anyway are decoded too, unless `is_known` says that nothing
        needs their pixels.
        """
        workers = self._settings.download_workers if decoder is None else self._decode_threads
        resolver, read = self._resolver(download=download), UnreadFiles(self._cache, decoder, is_known, self._unusable)

        def read_and_inspect(block: Sequence[ImageFile | UnreadFile | Skipped]) -> list[ImageFile | Skipped]:
            return [self._inspect(record) for record in read(block)]

        first_usable = FirstUsable(
            self._cache, self._unusable, self._fields, resolver, read_and_inspect, decoder, is_known
        )
        stage = Stage.IMAGES if decoder is None else Stage.DECODE
        blocks = parallel.parallel_map(
            self._profiler.timed(stage, first_usable, list, _range),
            _blocks(self._locate(products, resolver), UnreadFile),
            workers=workers,
            ahead=2 * workers,
            here=self._has_no_work,
        )
        return parallel.flatten(blocks)

    def look(self, products: Iterable[Product | Skipped]) -> Generator[list[ImageFile | Product | Skipped], None, None]:
        """Yield the products in blocks, in order, with the image of each whose image is in place and known.

        A product that is passed needs `find`. A `Skipped` is passed through, or of an image that is unwanted.
        """
        present = PresentImages(self._cache, image_roots(self._settings), self._refetch)

        def inspect(record: ImageFile | UnreadFile | Product | Skipped) -> ImageFile | Product | Skipped:
            if isinstance(record, UnreadFile):
                return record.product
            if not isinstance(record, ImageFile) or not self._inspect.looks:
                return record
            if self._cache.index.content(record.sha256) is None:
                return record.product
            found = self._inspect(record)
            return record.product if record.product.more_images and isinstance(found, Skipped) else found

        known = self._unusable, self._fields
        return self._in_blocks(lambda block: list(map(inspect, present.first_usable(block, *known))), products)

    def decoder(self, preprocess: Preprocessing, *, on_host: bool = False) -> Decoder:
        """Return what decodes blocks, records what images contain, and removes downloads that are not images.

        With `on_host`, images are resized here whatever the settings say.
        """
        settings = self._settings

        def reject(image: ImageFile, error: UndecodableError) -> None:
            self._unusable.note_bytes(image, error.reason, error.detail)
            if error.reason in _BAD_CONTENT:
                self._cache.reject(image.product.product_id, image.sha256, error.reason, error.detail)

        draft_side = 0 if settings.exact else preprocess.least
        crops = settings.resize == "device" and not on_host
        files: BlockDecoder
        if self._in_processes:
            processes = self._stack.enter_context(WorkerProcesses(PROGRAM, self.decode_workers))
            files = ProcessDecoder(processes, preprocess, draft_side, settings.max_pixels, crops=crops)
        else:
            steps = preprocess.crop if crops else preprocess
            files = ThreadDecoder(ModelPixels(steps, draft_side, settings.max_pixels, self._sandbox))
        return Decoder(files, self._cache.index.put_contents, reject)

    def decode(
        self, images: Iterable[ImageFile | Embedded | Skipped], decoder: Decoder, ahead: int
    ) -> Iterator[Decoded | Embedded | Skipped]:
        """Decode the images, in order; at most `ahead` records wait for the consumer."""
        blocks = parallel.parallel_map(
            self._profiler.timed(Stage.DECODE, decoder, list, _range),
            _blocks(images, ImageFile),
            workers=self._decode_threads,
            ahead=max(ahead // _TOGETHER, 1),
            here=_is_decoded,
        )
        return parallel.flatten(blocks)

    def _resolver(self, *, download: bool) -> ImageResolver:
        downloader = self._downloader if download else None
        roots = image_roots(self._settings)
        return ImageResolver(self._cache, downloader, roots, self._refetch, self._fields, self._unusable)

    def _locate(
        self, products: Iterable[Product | Skipped], resolver: ImageResolver
    ) -> Iterator[ImageFile | UnreadFile | Skipped]:
        """Say where each product's image is; download those that are not on disk."""
        settings = self._settings
        present = PresentImages(self._cache, image_roots(settings), self._refetch)

        def find_present(block: list[Product | Skipped]) -> list[ImageFile | UnreadFile | Product | Skipped]:
            return [
                resolver(record) if isinstance(record, Product) and resolver.host(record) is None else record
                for record in present(block)
            ]

        def resolve(record: ImageFile | UnreadFile | Product | Skipped) -> ImageFile | UnreadFile | Skipped:
            return resolver(record) if isinstance(record, Product) else record

        return parallel.parallel_map_by_key(
            self._profiler.timed(Stage.IMAGES, resolve, Product, _product_id),
            parallel.flatten(self._in_blocks(find_present, products)),
            key=resolver.host,
            workers=settings.download_workers,
            at_once=settings.download_per_host,
            ahead=AHEAD,
            here=_is_located,
        )

    def _in_blocks(
        self, function: Callable[[list[Product | Skipped]], list[T]], products: Iterable[Product | Skipped]
    ) -> Generator[list[T], None, None]:
        """Look at the files of products in blocks, and on other threads only where the disk is slow, as over a network.

        To hand a product or Python's lock to another thread takes longer than to look at a file.
        """
        per_product_s = 0.0

        def look_at_files(block: list[Product | Skipped]) -> list[T]:
            nonlocal per_product_s
            begun = time.perf_counter()
            found = function(block)
            per_product_s = (time.perf_counter() - begun) / len(block)
            return found

        return parallel.parallel_map(
            self._profiler.timed(Stage.IMAGES, look_at_files, list, _range),
            parallel.batched(products, _BLOCK),
            workers=self._settings.download_workers,
            ahead=AHEAD // _BLOCK,
            here=lambda _: per_product_s < _SLOW_S,
        )

    def _has_no_work(self, block: Sequence[ImageFile | UnreadFile | Skipped]) -> bool:
        return not self._inspect.looks and not any(
            isinstance(record, UnreadFile) or (isinstance(record, ImageFile) and has_several(record.product))
            for record in block
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


def _blocks(records: Iterable[T], works_on: type[ImageFile | UnreadFile]) -> Iterator[list[T]]:
    """Gather records; only those of the type `works_on` take time, by the size of their file."""

    def size(record: T) -> int:
        if isinstance(record, UnreadFile) and record.size:
            return record.size
        if not isinstance(record, works_on) or getattr(record, "decoded", None) is not None:
            return 0
        try:
            return os.stat(record.path).st_size  # noqa: PTH116  Path.stat takes twice as long
        except (OSError, ValueError):
            return 0

    return parallel.batched_within(records, _TOGETHER, _TOGETHER_S, size, _TOGETHER_BYTES)


def _product_id(record: ImageFile | UnreadFile | Embedded | Product | Skipped) -> str:
    return record.product_id if isinstance(record, Product | Skipped) else record.product.product_id


def _range(block: Sequence[ImageFile | UnreadFile | Embedded | Product | Skipped]) -> str:
    """Return the first and the last product of a block, for a trace."""
    first, last = _product_id(block[0]), _product_id(block[-1])
    return first if len(block) == 1 else f"{first} to {last}"


def _is_located(record: ImageFile | UnreadFile | Product | Skipped) -> bool:
    return not isinstance(record, Product)


def _is_decoded(block: Sequence[ImageFile | Embedded | Skipped]) -> bool:
    return not any(isinstance(record, ImageFile) and record.decoded is None for record in block)
