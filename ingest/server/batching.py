"""Embeds concurrent requests in batches, and limits how many requests wait."""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Generic, TypeVar

from ingest.server.responses import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Executor

    import numpy as np
    from numpy.typing import NDArray

GATHER_S = 0.003
"""How long the first of a batch waits for others. While a batch is computed, the next one fills up anyway."""

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """Collects items and embeds up to `largest` of them in one call of `embed`, which returns a row for each.

    `thread` runs the calls; two instances may share one, so that texts and images take turns. `observe` is called with
    the size of each batch. For one event loop.
    """

    def __init__(
        self,
        embed: Callable[[list[Item]], NDArray[np.float32]],
        thread: Executor,
        largest: int,
        observe: Callable[[int], object],
    ) -> None:
        self._embed = embed
        self._thread = thread
        self._largest = largest
        self._observe = observe
        self._waiting: deque[tuple[Item, asyncio.Future[NDArray[np.float32]]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    async def row(self, item: Item) -> NDArray[np.float32]:
        """Return the item's row, (dim,) float32; raises what `embed` raises for its batch."""
        answer: asyncio.Future[NDArray[np.float32]] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        return await answer

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(GATHER_S)
            while batch := self._next_batch():
                self._observe(len(batch))
                try:
                    rows = await loop.run_in_executor(self._thread, self._embed, [item for item, _ in batch])
                except Exception as error:  # noqa: BLE001  raised again in each request
                    for _, answer in batch:
                        if not answer.done():
                            answer.set_exception(error)
                else:
                    for (_, answer), row in zip(batch, rows, strict=True):
                        if not answer.done():  # it is done if its client disconnected
                            answer.set_result(row)
        finally:
            self._worker = None

    def _next_batch(self) -> list[tuple[Item, asyncio.Future[NDArray[np.float32]]]]:
        batch: list[tuple[Item, asyncio.Future[NDArray[np.float32]]]] = []
        while self._waiting and len(batch) < self._largest:
            item, answer = self._waiting.popleft()
            if not answer.done():
                batch.append((item, answer))
        return batch


class Gate:
    """Limits the requests in progress: more are refused at once instead of waiting."""

    def __init__(self, places: int) -> None:
        self._places = places
        self.inside = 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Hold a place while the block runs; raises OverloadedError if none is free. For one event loop."""
        if self.inside >= self._places:
            raise OverloadedError(f"{self.inside} requests are waiting already; try again in a second")
        self.inside += 1
        try:
            yield
        finally:
            self.inside -= 1
