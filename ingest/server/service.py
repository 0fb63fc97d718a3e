"""The service's parts, put together once and shared by its routes."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from anyio import CapacityLimiter, to_thread

from ingest.core.errors import QueryError
from ingest.embedding.device import import_torch
from ingest.images.decode.sandbox import Sandbox
from ingest.search import query, recommend
from ingest.search.query import Query
from ingest.search.recommend import RecommendOptions
from ingest.search.search import search_vectors
from ingest.server import alias_watcher, last_run, request_parsing, snapshot
from ingest.server.batching import Batches, Gate
from ingest.server.metrics import Metrics
from ingest.server.responses import NotFoundError
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
    from ingest.server.last_run import LatestRun
    from ingest.server.request_parsing import SearchRequest
    from ingest.server.snapshot import Snapshot

log = logging.getLogger(__name__)

Answer = TypeVar("Answer")

PLACES, UPLOADS = 256, 32
"""Requests worked on at once, and of these, uploads: more are turned away with 503."""
_LARGEST_BATCH = 32
_MILVUS_THREADS = 16
_FRESH_S = 300.0


class Service:
    """One collection, one model, and the threads that work for them while `running`."""

    def __init__(self, settings: Settings, connection: Connection, current: AliasWatcher, model: QueryModel) -> None:
        self.settings = settings
        self.live = current
        self.metrics = Metrics()
        self.gate, self.uploads = Gate(PLACES), Gate(UPLOADS)
        self._connection = connection
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
        self.shown = Thumbnails(settings.data / "image_cache", self._sandbox)
        self._snapshot: tuple[str, float, Snapshot] | None = None
        self._taking: asyncio.Task[Snapshot] | None = None
        self.metrics.watch(lambda: self.gate.inside, lambda: float(not current.fault))

    def warm_up(self) -> None:
        """Load the model before the first request; raises what the encoder raises.

        One core is left to the event loop, Milvus and the decoders: where a thread of a matrix product waits for
        its core, all of them do (two threads on two busy cores: 414 ms for a text, one thread: 13 ms).
        """
        if "OMP_NUM_THREADS" not in os.environ:
            import_torch().set_num_threads(max(1, (os.cpu_count() or 1) - 1))
        self._encoder.texts(["a product"])
        self._encoder.images(np.zeros((1, self._steps.height, self._steps.width, 3), np.uint8))

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Follow the alias while the block runs; then end the threads, when what they do is done."""
        # Made here, for they belong to the running loop.
        self._milvus, self._decoding = CapacityLimiter(_MILVUS_THREADS), CapacityLimiter(os.cpu_count() or 1)
        following = asyncio.create_task(self._follow())
        try:
            yield
        finally:
            for task in (following, self._taking):
                if task is not None:
                    task.cancel()
                    with suppress(asyncio.CancelledError, Exception):
                        await task
            self._thread.shutdown(wait=True)
            self._sandbox.__exit__(None, None, None)

    @asynccontextmanager
    async def received(self, request: Request) -> AsyncIterator[tuple[dict[str, Any], UploadFile | None]]:
        """Yield a request's object and its picture as `request_parsing.read_request` does; so many uploads at once, and
        no more.
        """
        is_form = request.headers.get("content-type", "").lower().startswith("multipart/")
        with self.uploads.entered() if is_form else nullcontext():
            async with request_parsing.read_request(request, self.settings.max_image_bytes) as found:
                yield found

    async def search(self, asked: SearchRequest, picture: BinaryIO | None = None) -> list[Hit]:
        """Return the products nearest to what is asked, best first, the product asked for left out.

        Raises ModelError where a text or a picture is asked with and the model is not the collection's,
        NotFoundError where the product is not there, and QueryError for a filter with a mistake.
        """
        embeds = asked.text is not None or picture is not None
        served = self.live.checked() if embeds else self.live.served
        wanted = Query(
            text=asked.text or "", product_id=asked.product_id or "", expression=asked.filter, limit=asked.limit,
            text_weight=asked.weights.get("text", 1.0), image_weight=asked.weights.get("picture", 1.0),
            product_weight=asked.weights.get("product", 1.0),
        )  # fmt: skip
        text = None if asked.text is None else await self.text_row(asked.text)
        image = None if picture is None else await self.picture_row(picture)
        product = None if asked.product_id is None else (await self.product(served, asked.product_id)).vector
        [hits] = await self.ask(search_vectors, served, [wanted], [wanted.vector(text, image, product)])
        return hits

    async def similar(self, product_id: str, asked: SearchRequest) -> list[Hit]:
        """Return the products most like a product, those with its very picture left out; raises as `search` does."""
        served = self.live.served
        await self.product(served, product_id)
        return await self.ask(
            recommend.like, served, [product_id], RecommendOptions(asked.limit, expression=asked.filter)
        )

    async def product(self, served: SearchableCollection, product_id: str) -> StoredProduct:
        """Return a product as it stands in a collection; raises NotFoundError."""
        try:
            return (await self.ask(served.products, [product_id]))[product_id]
        except QueryError as error:
            raise NotFoundError(str(error)) from error

    async def text_row(self, text: str) -> NDArray[np.float32]:
        """Return the unit vector of a text, (dim,) float32."""
        return query.combine([(await self._texts.row(text), 1.0)])

    async def picture_row(self, file: BinaryIO) -> NDArray[np.float32]:
        """Return the unit vector of an uploaded picture, (dim,) float32; raises QueryError where it is none."""
        pixels = await to_thread.run_sync(self._decoded, file, limiter=self._decoding)
        return query.combine([(await self._pixels.row(pixels), 1.0)])

    def _decoded(self, file: BinaryIO) -> NDArray[np.uint8]:
        return query.pixels(file.read(), self._steps, self._sandbox)

    async def jpeg(self, product_id: str, side: int) -> tuple[bytes, str]:
        """Return a product's picture as `Thumbnails.jpeg` does."""
        return await to_thread.run_sync(self.shown.jpeg, product_id, side, limiter=self._decoding)

    async def ask(self, function: Callable[..., Answer], *arguments: Any) -> Answer:
        """Call something that asks Milvus, on a thread, and time it."""
        began = time.perf_counter()
        try:
            return await to_thread.run_sync(partial(function, *arguments), limiter=self._milvus)
        finally:
            self.metrics.milvus_seconds.observe(time.perf_counter() - began)

    async def snapshot(self) -> Snapshot:
        """Return what the last reading of the whole collection found; an old one while the next is under way."""
        kept, served = self._snapshot, self.live.served
        name = served.name
        if self._taking is None and (kept is None or kept[0] != name or time.monotonic() - kept[1] > _FRESH_S):
            self._taking = asyncio.create_task(self._take(served))
            self._taking.add_done_callback(self._taken)
        if kept is not None and kept[0] == name:
            return kept[2]
        assert self._taking is not None
        return await asyncio.shield(self._taking)

    async def latest_run(self) -> LatestRun | None:
        """Return what the latest run left in the data folder."""
        return await to_thread.run_sync(last_run.latest, self.settings.data / "runs")

    async def _take(self, served: SearchableCollection) -> Snapshot:
        taken = await to_thread.run_sync(snapshot.take, self._connection, served.name, served.contract)
        self._snapshot = (served.name, time.monotonic(), taken)
        return taken

    def _taken(self, task: asyncio.Task[Snapshot]) -> None:
        self._taking = None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("the collection could not be read: %s", error)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(alias_watcher.LOOK_EVERY_S)
            try:
                await to_thread.run_sync(self.live.look, limiter=self._milvus)
            except Exception:  # a bug of ours must not end the following
                log.exception("could not look where the alias leads")
