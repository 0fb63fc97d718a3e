"""How long each part of a run works, without the time it waits for its input or for what follows.

On each thread, a moment counts for one part: the innermost one entered there.
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
"""Importing torch and loading the model, once per run."""
EXPORTS = "exports"
"""Writing the `.npy` pair and the FAISS files, at the end."""


class BusyShare(NamedTuple):
    """How busy a part was: the share of the run's time in which it worked (0 to 1), and on how many threads."""

    busy: float
    threads: int


class StageProfiler:
    """Counts each moment of each thread for the part that works in it, and draws that in `trace` if there is one."""

    def __init__(self, trace: Trace | None = None) -> None:
        self._trace = trace
        self._own = threading.local()
        self._lock = threading.Lock()
        self._threads: list[_Thread] = []
        self._pooled: set[str] = set()
        self._elsewhere: dict[str, tuple[float, int]] = {}
        self._started = time.perf_counter()

    @contextmanager
    def working(self, part: str) -> Iterator[None]:
        """Count the time of the block for `part`."""
        thread = self._thread()
        before = thread.switch(part)
        try:
            yield
        finally:
            thread.switch(before)

    def within(self, part: str | None, items: Iterable[T]) -> Iterator[T]:
        """Pass `items` on; the time to produce them counts for `part`."""
        iterator = iter(items)
        while True:
            thread = self._thread()  # each time, because a generator may move to another thread
            before = thread.switch(part)
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                thread.switch(before)
            yield item

    def waiting(self, items: Iterable[T]) -> Iterator[T]:
        """Pass `items` on; the time to wait for them counts for no part."""
        return self.within(None, items)

    def timed(
        self, part: str, function: Callable[[T], U], works_on: type | tuple[type, ...], name: Callable[[T], str]
    ) -> Callable[[T], U]:
        """Return `function` with calls counted for `part` if the item is of type `works_on`; for many threads.

        `name` returns the item's name for a trace.
        """
        self._pooled.add(part)

        def call(item: T) -> U:
            if not isinstance(item, works_on):
                return function(item)
            thread = self._thread()
            before = thread.switch(part)
            try:
                return function(item)
            finally:
                thread.switch(before, name(item))

        call.__name__ = str(part)  # names the threads that call it
        return call

    def add(self, part: str, seconds: float, workers: int) -> None:
        """Count work that was done elsewhere, where `workers` can work at the same time."""
        with self._lock:
            before, _ = self._elsewhere.get(part, (0.0, 0))
            self._elsewhere[part] = before + seconds, workers

    def shares(self) -> dict[str, BusyShare]:
        """Return how busy each part has been since the start.

        For a part whose threads share its work this is their mean; for others, the busiest thread.
        """
        now = time.perf_counter()
        wall = max(now - self._started, 1e-9)
        with self._lock:
            counted = [thread.counted(now) for thread in self._threads]
            elsewhere = dict(self._elsewhere)
        worked: dict[str, list[float]] = {}
        for seconds in counted:
            for part, of_part in seconds.items():
                worked.setdefault(part, []).append(of_part)
        shares = {
            part: BusyShare(min((sum(each) / len(each) if part in self._pooled else max(each)) / wall, 1.0), len(each))
            for part, each in worked.items()
        }
        for part, (worked_s, workers) in elsewhere.items():
            shares[part] = BusyShare(min(worked_s / workers / wall, 1.0), workers)
        return shares

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
    """Return the part in which a run spends most time; None before any has begun."""
    return max(shares, key=lambda part: shares[part].busy, default=None)


class _Thread:
    """The part that one thread works on, and the seconds it has worked on each."""

    __slots__ = ("_number", "_part", "_seconds", "_since", "_trace")

    def __init__(self, number: int, trace: Trace | None) -> None:
        self._number = number
        self._trace = trace
        self._part: str | None = None
        self._since = 0.0
        self._seconds: dict[str, float] = {}

    def switch(self, part: str | None, name: str = "") -> str | None:
        """Switch to `part`; return the part before, whose work may have a `name`."""
        now = time.perf_counter()
        before = self._part
        if before is not None:
            self._seconds[before] = self._seconds.get(before, 0.0) + now - self._since
            if self._trace is not None:
                self._trace.add(self._number, before, self._since, now, name)
        self._part, self._since = part, now
        return before

    def counted(self, now: float) -> dict[str, float]:
        """Return the seconds of each part, including the current one."""
        seconds, part, since = dict(self._seconds), self._part, self._since
        if part is not None:
            seconds[part] = seconds.get(part, 0.0) + max(now - since, 0.0)
        return seconds
