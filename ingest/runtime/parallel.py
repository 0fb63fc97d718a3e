"""The only concurrency primitives of the project: batches, ordered thread maps and prefetching."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Generic, TypeVar

from ingest.runtime.keyed_pool import KeyedThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

T = TypeVar("T")
U = TypeVar("U")

_AT_ONCE = 32  # items handed over together by `prefetch`
_POLL_S = 0.05  # how soon a producer that waits for room notices that its consumer has stopped


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield lists of `size` items in order; the last one may be shorter, none is empty."""
    batch: list[T] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def batched_within(
    items: Iterable[T], size: int, seconds: float, weight: Callable[[T], int] = lambda _: 0, most: int = 1
) -> Iterator[list[T]]:
    """Yield lists as `batched` does, each at most about `seconds` after its first item has come.

    Fast items come in full lists, and a slow one delays only those just before it. A list also ends with the item whose
    `weight` makes it as heavy as `most`.
    """
    batch: list[T] = []
    ends, heavy = 0.0, 0
    for item in items:
        if not batch:
            ends, heavy = time.monotonic() + seconds, 0
        batch.append(item)
        heavy += weight(item)
        if len(batch) == size or heavy >= most or time.monotonic() >= ends:
            yield batch
            batch = []
    if batch:
        yield batch


def flatten(blocks: Generator[list[T], None, None]) -> Generator[T, None, None]:
    """Yield the items of the blocks; closing this generator closes `blocks` too."""
    with closing(blocks):
        for block in blocks:
            yield from block


def take_until(items: Iterable[T], stop: threading.Event) -> Iterator[T]:
    """Yield from `items` until they end or `stop` is set."""
    for item in items:
        if stop.is_set():
            return
        yield item


def parallel_map(
    function: Callable[[T], U],
    items: Iterable[T],
    *,
    workers: int,
    ahead: int,
    here: Callable[[T], bool] = lambda _: False,
) -> Generator[U, None, None]:
    """Map on `workers` threads, in order, with at most `ahead` results waiting for the consumer.

    Items for which `here` returns True are mapped on the consumer's thread, because that costs less than passing them
    to another. An exception of `function` or `items` is raised at its place in the order. A consumer that stops early
    cancels calls that have not begun and waits for those that have.
    """
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix=getattr(function, "__name__", "pmap"))
    pending: deque[Future[U]] = deque()
    source = _raised_last(items)
    failure: Exception | None = None
    try:
        for item in source:
            if isinstance(item, _Raised):
                failure = item.error
                break
            pending.append(_done(function, item) if here(item) else pool.submit(function, item))
            # One result per new item: a slow source must not delay results of earlier items.
            if len(pending) >= ahead or pending[0].done():
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        source.close()


def _done(function: Callable[[T], U], item: T) -> Future[U]:
    future: Future[U] = Future()
    try:
        future.set_result(function(item))
    except Exception as error:  # noqa: BLE001  raised again at its place in the order
        future.set_exception(error)
    return future


def parallel_map_by_key(
    function: Callable[[T], U],
    items: Iterable[T],
    *,
    key: Callable[[T], str | None],
    workers: int,
    at_once: int,
    ahead: int,
    here: Callable[[T], bool] = lambda _: False,
) -> Iterator[U]:
    """Map on `workers` threads, in order, with at most `at_once` calls at the same time for items of one key.

    Keys take turns, so a slow key delays only its own items, within the `ahead` items that are taken before the
    consumer needs them. Items whose key is None are limited by `workers` alone. `here`, exceptions and a consumer that
    stops early work as in `parallel_map`.
    """
    pool: KeyedThreadPool[T, U] = KeyedThreadPool(function, workers, at_once)
    pending: deque[Future[U]] = deque()
    source = _raised_last(items)
    failure: Exception | None = None
    more = True
    try:
        while more or pending:
            if pending and (not more or len(pending) >= ahead or pending[0].done()):
                yield pending.popleft().result()
                continue
            item = next(source, None)
            if item is None:
                more = False
            elif isinstance(item, _Raised):
                failure, more = item.error, False
            elif not here(item):
                pending.append(pool.give(key(item), item))
            elif pending:
                pending.append(_done(function, item))
            else:
                yield function(item)  # no earlier result to wait for
        if failure is not None:
            raise failure
    finally:
        pool.dismiss()
        source.close()


def _raised_last(items: Iterable[T]) -> Generator[T | _Raised[Exception], None, None]:
    """Yield `items` and then, as a value, the exception they raised, so that pending results come before it."""
    try:
        yield from items
    except Exception as error:  # noqa: BLE001  raised again after the results before it
        yield _Raised(error)


E = TypeVar("E", bound=BaseException)


class _Raised(Generic[E]):
    """A producer's exception on its way to the consumer."""

    def __init__(self, error: E) -> None:
        self.error = error


class _End:
    """Marks the end of the producer's items."""


class _LookAhead(Generic[T]):
    """A thread that prefetches up to `size` items of `source`.

    They are handed over some at a time, unless the consumer waits for one: that takes longer than to make many an item.
    """

    def __init__(self, source: Iterable[T], size: int) -> None:
        self._source = source
        self._at_once = max(1, min(_AT_ONCE, size // 8))
        self._queue: queue.Queue[list[T] | _Raised[BaseException] | _End] = queue.Queue(max(1, size // self._at_once))
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="look-ahead", daemon=True)

    def _put(self, items: list[T] | _Raised[BaseException] | _End) -> bool:
        while not self._gone.is_set():
            try:
                self._queue.put(items, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def _produce(self) -> None:
        ready: list[T] = []
        try:
            for item in self._source:
                ready.append(item)
                if len(ready) == self._at_once or self._queue.empty():
                    if not self._put(ready):
                        break
                    ready = []
            self._put(ready)
        except BaseException as error:  # noqa: BLE001  raised again at the consumer
            self._put(ready)
            self._put(_Raised(error))
        finally:
            # A generator must be closed by the thread that runs it, so that it cleans up now.
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            self._put(_End())

    def __iter__(self) -> Generator[T, None, None]:
        self._thread.start()
        try:
            while True:
                items = self._queue.get()
                if isinstance(items, _End):
                    return
                if isinstance(items, _Raised):
                    raise items.error
                yield from items
        finally:
            self._gone.set()
            self._thread.join()


def prefetch(items: Iterable[T], size: int) -> Generator[T, None, None]:
    """Run `items` on its own thread, about `size` items ahead of the consumer, and never more than 5/4 of that and two.

    The producer's exception is raised at the consumer. A consumer that stops ends the producer, and its generator is
    closed. A consumer that raises must close this generator itself: its traceback keeps it alive.
    """
    return iter(_LookAhead(items, size))
