"""The service: one collection, one model and their threads, shared by the routes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
from anyio import CapacityLimiter, to_thread

from ingest.core.errors import QueryError
from ingest.embedding.device import import_torch
from ingest.images.decode.sandbox import Sandbox
from ingest.search import query, recommend, unknown_fields
from ingest.search.query import Query
from ingest.search.recommend import RecommendOptions
from ingest.search.search import search_vectors
from ingest.server import alias_watcher, last_run, request_parsing
from ingest.server.batching import Batches, Gate
from ingest.server.metrics import Metrics
from ingest.server.responses import NotFoundError
from ingest.server.snapshot import SnapshotCache
from ingest.server.thumbnails import Thumbnails

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from typing import BinaryIO

    from numpy.typing import NDArray
    from starlette.datastructures import UploadFile
    from starlette.requests import Request

    from ingest.core.settings import Settings
    from ingest.embedding.encoder import Encoder
    from ingest.milvus.connection import Connection
    from ingest.search.backend import Hit
    from ingest.search.milvus_backend import SearchableCollection, StoredProduct
    from ingest.search.query import QueryModel
    from ingest.server.alias_watcher import AliasWatcher
    from ingest.server.request_parsing import RequestQuery
    from ingest.server.schemas import LatestRun, SearchQuery, SimilarParameters
    from ingest.server.snapshot import Snapshot

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PLACES, UPLOADS = 256, 32
"""Maximum requests in progress, and uploads among them; more get 503."""
_LARGEST_BATCH = 32
_MILVUS_THREADS = 16


class Found(NamedTuple):
    """Products found, best first, and what may be wrong with the filter."""

    hits: list[Hit]
    warnings: list[str]


class Service:
    """One collection, one model and their threads, which work while it runs."""

    def __init__(self, settings: Settings, connection: Connection, live: AliasWatcher, model: QueryModel) -> None:
        self.settings = settings
        self.live = live
        self.metrics = Metrics()
        self.gate, self.uploads = Gate(PLACES), Gate(UPLOADS)
        self._steps = model.preprocessing
        self._encoder: Encoder = model.encoder
        self._thread = ThreadPoolExecutor(1, "embedding")
        self._texts = Batches[str](
            partial(query.text_vectors, self._encoder), self._thread, _LARGEST_BATCH, self.metrics.batch("text")
        )
        self._pixels = Batches["NDArray[np.uint8]"](
            partial(query.image_vectors, self._encoder), self._thread, _LARGEST_BATCH,
            self.metrics.batch("picture"),
        )  # fmt: skip
        self._sandbox = Sandbox()
        self.thumbnails = Thumbnails(settings.data / "image_cache", self._sandbox)
        self._snapshots = SnapshotCache(connection)
        self.metrics.watch(lambda: self.gate.inside, lambda: float(not live.fault))

    def warm_up(self) -> None:
        """Load the model before the first request; raises what the encoder raises.

        One core is left to the event loop, Milvus and the decoders: if one thread of a matrix product waits for a
        core, all of them wait (two threads on two busy cores: 414 ms for a text; one thread: 13 ms).
        """
        if "OMP_NUM_THREADS" not in os.environ:
            import_torch().set_num_threads(max(1, (os.cpu_count() or 1) - 1))
        self._encoder.texts(["a product"])
        self._encoder.images(np.zeros((1, self._steps.height, self._steps.width, 3), np.uint8))

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Follow the alias while the block runs, then finish the work of the threads and end them."""
        # created here because they belong to the running event loop
        self._milvus, self._decoding = CapacityLimiter(_MILVUS_THREADS), CapacityLimiter(os.cpu_count() or 1)
        following = asyncio.create_task(self._follow_alias())
        try:
            yield
        finally:
            following.cancel()
            with suppress(asyncio.CancelledError):
                await following
            await self._snapshots.close()
            self._thread.shutdown(wait=True)
            self._sandbox.__exit__(None, None, None)

    @asynccontextmanager
    async def read_request(
        self, request: Request, kind: type[RequestQuery]
    ) -> AsyncIterator[tuple[RequestQuery, UploadFile | None]]:
        """Yield a request's query and image as `request_parsing.read_request` does, with limited uploads at once."""
        is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
        with self.uploads.enter() if is_form else nullcontext():
            async with request_parsing.read_request(request, kind, self.settings.max_image_bytes) as content:
                yield content

    async def search(self, asked: SearchQuery, image: BinaryIO | None = None) -> Found:
        """Return the products nearest to the query, best first, without the query's own product.

        Raises ModelError if a text or image must be embedded and the model does not match the collection,
        NotFoundError if the product does not exist, and QueryError for an invalid filter.
        """
        embeds = asked.text or image is not None
        served = self.live.matching_collection() if embeds else self.live.collection
        wanted = Query(
            text=asked.text, product_id=asked.product_id, expression=asked.filter, limit=asked.limit,
            text_weight=asked.weights.get("text", 1.0), image_weight=asked.weights.get("picture", 1.0),
            product_weight=asked.weights.get("product", 1.0),
        )  # fmt: skip
        vector = wanted.vector(
            text=await self.embed_text(asked.text) if asked.text else None,
            image=await self.embed_image(image) if image is not None else None,
            product=(await self.product(served, asked.product_id)).vector if asked.product_id else None,
        )
        [hits] = await self.ask(search_vectors, served, [wanted], [vector])
        return Found(hits, unknown_fields.warnings(served, asked.filter, hits))

    async def similar(self, product_id: str, asked: SimilarParameters) -> Found:
        """Return the products most similar to a product, except those with the same image; raises like `search`."""
        served = self.live.collection
        await self.product(served, product_id)
        hits = await self.ask(
            recommend.like, served, [product_id], RecommendOptions(asked.limit, expression=asked.filter)
        )
        return Found(hits, unknown_fields.warnings(served, asked.filter, hits))

    async def product(self, served: SearchableCollection, product_id: str) -> StoredProduct:
        """Return a product as stored in a collection; raises NotFoundError."""
        try:
            return (await self.ask(served.products, [product_id]))[product_id]
        except QueryError as error:
            raise NotFoundError(str(error)) from error

    async def embed_text(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of a text, (dim,) float32."""
        return query.combine([(await self._texts.row(text), 1.0)])

    async def embed_image(self, file: BinaryIO) -> NDArray[np.float32]:
        """Return the unit vector of an uploaded image, (dim,) float32; raises QueryError if it cannot be decoded."""
        pixels = await to_thread.run_sync(self._decode, file, limiter=self._decoding)
        return query.combine([(await self._pixels.row(pixels), 1.0)])

    def _decode(self, file: BinaryIO) -> NDArray[np.uint8]:
        return query.pixels(file.read(), self._steps, self._sandbox)

    async def jpeg(self, product_id: str, side: int) -> tuple[bytes, str]:
        """Return a product's image as `Thumbnails.jpeg` does."""
        return await to_thread.run_sync(self.thumbnails.jpeg, product_id, side, limiter=self._decoding)

    async def ask(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call a function that queries Milvus, on a thread, and time it."""
        began = time.perf_counter()
        try:
            return await to_thread.run_sync(partial(function, *arguments), limiter=self._milvus)
        finally:
            self.metrics.milvus_seconds.observe(time.perf_counter() - began)

    async def snapshot(self) -> Snapshot:
        """Return a recent snapshot of the collection, as `SnapshotCache.get` does."""
        return await self._snapshots.get(self.live.collection)

    async def latest_run(self) -> LatestRun | None:
        """Return the latest run in the data folder, None if there is none."""
        return await to_thread.run_sync(last_run.latest, self.settings.data / "runs")

    async def _follow_alias(self) -> None:
        while True:
            await asyncio.sleep(alias_watcher.INTERVAL_S)
            try:
                await to_thread.run_sync(self.live.refresh, limiter=self._milvus)
            except Exception:  # a bug must not stop the task
                log.exception("could not check where the alias points")
