"""The only concurrency primitives of the house: `batched`, `pmap`, `ahead`, `until`."""

from __future__ import annotations

import queue
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

T = TypeVar("T")
U = TypeVar("U")

_POLL_S = 0.05  # how soon a producer that waits for room notices that its consumer is gone


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


def until(items: Iterable[T], stop: threading.Event) -> Iterator[T]:
    """Yield from `items` until they end or `stop` is set, whichever is first."""
    for item in items:
        if stop.is_set():
            return
        yield item


def pmap(function: Callable[[T], U], items: Iterable[T], *, workers: int, ahead: int) -> Iterator[U]:
    """Map on `workers` threads, in order, with at most `ahead` results waiting for the consumer.

    An exception of `function` or of `items` surfaces here, at its place in the order. A consumer that stops
    early cancels what has not begun and waits only for calls already running.
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
            pending.append(pool.submit(function, item))
            if len(pending) >= ahead:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        source.close()


def _raised_last(items: Iterable[T]) -> Generator[T | _Raised[Exception], None, None]:
    """Yield `items` and then, as a value, what they raised: results still under way come before it."""
    try:
        yield from items
    except Exception as error:  # noqa: BLE001  it is raised again when the results before it are out
        yield _Raised(error)


E = TypeVar("E", bound=BaseException)


class _Raised(Generic[E]):
    """A producer's exception on its way to the consumer."""

    def __init__(self, error: E) -> None:
        self.error = error


class _End:
    """The producer has nothing more."""


class _LookAhead(Generic[T]):
    """A thread that keeps up to `size` items of `source` ready."""

    def __init__(self, source: Iterable[T], size: int) -> None:
        self._source = source
        self._queue: queue.Queue[T | _Raised[BaseException] | _End] = queue.Queue(maxsize=size)
        self._gone = threading.Event()
        self._thread = threading.Thread(target=self._produce, name="look-ahead", daemon=True)

    def _put(self, item: T | _Raised[BaseException] | _End) -> bool:
        while not self._gone.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False

    def _produce(self) -> None:
        try:
            for item in self._source:
                if not self._put(item):
                    break
        except BaseException as error:  # noqa: BLE001  it is raised again where the consumer stands
            self._put(_Raised(error))
        finally:
            # A generator must be closed by the thread that runs it, so that its own clean-up happens now.
            close = getattr(self._source, "close", None)
            if close is not None:
                close()
            self._put(_End())

    def __iter__(self) -> Iterator[T]:
        self._thread.start()
        try:
            while True:
                item = self._queue.get()
                if isinstance(item, _End):
                    return
                if isinstance(item, _Raised):
                    raise item.error
                yield item
        finally:
            self._gone.set()
            self._thread.join()


def ahead(items: Iterable[T], size: int) -> Iterator[T]:
    """Run `items` on a thread of its own, at most `size` items before the consumer.

    A producer's exception surfaces at the consumer; a consumer that stops frees the producer, whose
    generator is then closed.
    """
    return iter(_LookAhead(items, size))
