"""Where the time goes: how long each part of a run works, not waiting for what comes in, not held up by what follows.

A moment belongs to one part on each thread: to the innermost that was entered there.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from ingest.runtime.trace import Trace

T = TypeVar("T")
U = TypeVar("U")

MODEL = "model load"
"""Importing torch and loading the model, which a run does once."""
EXPORTS = "exports"
"""Writing the `.npy` pair and the FAISS files, when all else is done."""


class BusyShare(NamedTuple):
    """How busy a part was: `busy`, the share of the run's time it worked in (0 to 1), on so many `threads`."""

    busy: float
    threads: int


class StageProfiler:
    """Gives every moment of every thread to the part that works in it, and draws it in `trace` where there is one."""

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self._own = threading.local()
        self._lock = threading.Lock()
        self._threads: list[_Thread] = []
        self._crews: set[str] = set()
        self._started = time.perf_counter()

    @contextmanager
    def working(self, part: str) -> Iterator[None]:
        """Count the block as work of `part`."""
        thread = self._thread()
        before = thread.switch(part)
        try:
            yield
        finally:
            thread.switch(before)

    def within(self, part: str | None, items: Iterable[T]) -> Iterator[T]:
        """Pass `items` on; the time that making them takes is work of `part`."""
        iterator = iter(items)
        while True:
            thread = self._thread()  # in each turn: a generator need not stay with the thread that began it
            before = thread.switch(part)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                thread.switch(before)
            yield item

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """Pass `items` on; the time until they come is nobody's work."""
        return self.within(None, items)

    def timed(
        self, part: str, function: Callable[[T], U], works_on: type | tuple[type, ...], name: Callable[[T], str]
    ) -> Callable[[T], U]:
        """Return `function`, whose calls with items of the type `works_on` are work of `part`, for many threads.

        `name` says what such an item is called in a trace.
        """
        self._crews.add(part)

        def call(item: T) -> U:
            if not isinstance(item, works_on):
                return function(item)
            thread = self._thread()
            before = thread.switch(part)
            try:
                return function(item)
            finally:
                thread.switch(before, name(item))

        call.__name__ = str(part)  # which names the threads that call it
        return call

    def shares(self) -> dict[str, BusyShare]:
        """Return how busy each part has been since the start.

        Of a part whose threads take turns at the same work it is their mean; of another one, its busiest thread.
        """
        now = time.perf_counter()
        wall = max(now - self._started, 1e-9)
        with self._lock:
            counted = [thread.counted(now) for thread in self._threads]
        worked: dict[str, list[float]] = {}
        for seconds in counted:
            for part, of_part in seconds.items():
                worked.setdefault(part, []).append(of_part)
        return {
            part: BusyShare(min((sum(each) / len(each) if part in self._crews else max(each)) / wall, 1.0), len(each))
            for part, each in worked.items()
        }

    def _thread(self) -> _Thread:
        try:
            thread: _Thread = self._own.thread
        except AttributeError:
            with self._lock:
                thread = _Thread(len(self._threads), self._trace)
                self._threads.append(thread)
            self._own.thread = thread
        return thread


def busiest(shares: dict[str, BusyShare]) -> str | None:
    """Return the part that a run spends most of its time in, None before any has begun."""
    return max(shares, key=lambda part: shares[part].busy, default=None)


class _Thread:
    """What one thread works on, and how long it has worked on what."""

    __slots__ = ("_number", "_part", "_seconds", "_since", "_trace")

    def __init__(self, number: int, trace: Trace | None) -> None:
        self._number = number
        self._trace = trace
        self._part: str | None = None
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    def switch(self, part: str | None, name: str = "") -> str | None:
        """Work on `part` from now on; return what was worked on until now, which may be called by a `name`."""
        now = time.perf_counter()
        before = self._part
        if before is not None:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
            if self._trace is not None:
                self._trace.add(self._number, before, self._since, now, name)
        self._part, self._since = part, now
        return before

    def counted(self, now: float) -> dict[str, float]:
        """Return the seconds of each part, those of the one that is being worked on included."""
        seconds, part, since = dict(self._seconds), self._part, self._since
        if part is not None:
            seconds[part] = seconds.get(part, 0.0) + max(now - since, 0.0)
        return seconds
