"""Thread pool with one queue per key, served round-robin; `parallel.parallel_map_by_key` uses it."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
U = TypeVar("U")


class KeyedThreadPool(Generic[T, U]):
    """Up to `workers` threads that call a function, at most `at_once` at the same time for items of one key."""

    def __init__(self, function: Callable[[T], U], workers: int, at_once: int) -> None:
        self._function = function
        self._workers = workers
        self._at_once = at_once
        self._changed = threading.Condition()
        self._waiting: dict[str | None, deque[tuple[Future[U], T]]] = {}
        self._running: dict[str | None, int] = {}
        self._ready: deque[str | None] = deque()  # keys that have waiting work and room to run it, each once
        self._idle = 0
        self._ended = False
        self._threads: list[threading.Thread] = []

    def give(self, key: str | None, item: T) -> Future[U]:
        """Queue a call of the function with `item`; return its future."""
        future: Future[U] = Future()
        with self._changed:
            waiting = self._waiting.setdefault(key, deque())
            waiting.append((future, item))
            if len(waiting) == 1 and self._has_room(key):
                self._ready.append(key)
            self._wake()
        return future

    def dismiss(self) -> None:
        """Drop calls that have not begun, and wait for those that have."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _wake(self) -> None:
        """Wake or start one more thread if there is work."""
        if not self._ready:
            return
        if self._idle:
            self._idle -= 1  # here, not in the woken thread, so that it is not woken twice
            self._changed.notify()
        elif len(self._threads) < self._workers:
            thread = threading.Thread(target=self._work, name=f"keyed-{len(self._threads)}", daemon=True)
            self._threads.append(thread)
            thread.start()

    def _has_room(self, key: str | None) -> bool:
        return key is None or self._running.get(key, 0) < self._at_once

    def _work(self) -> None:
        key: str | None = None
        worked = False
        while True:
            with self._changed:
                if worked:
                    self._left(key)
                while not self._ready and not self._ended:
                    self._idle += 1
                    self._changed.wait()
                if self._ended:
                    return
                key, (future, item) = self._taken()
                self._wake()
            worked = True
            try:
                future.set_result(self._function(item))
            except BaseException as error:  # noqa: BLE001  raised again at the consumer
                future.set_exception(error)

    def _taken(self) -> tuple[str | None, tuple[Future[U], T]]:
        """Take the next key's next item, and put the key last if more of its items may run."""
        key = self._ready.popleft()
        work = self._waiting[key].popleft()
        self._running[key] = self._running.get(key, 0) + 1
        if not self._waiting[key]:
            del self._waiting[key]
        elif self._has_room(key):
            self._ready.append(key)
        return key, work

    def _left(self, key: str | None) -> None:
        """Record that a call for the key has ended; if that made room, the key gets its next turn."""
        had_room = self._has_room(key)
        self._running[key] -= 1
        if not self._running[key]:
            del self._running[key]
        if not had_room and key in self._waiting:
            self._ready.append(key)
