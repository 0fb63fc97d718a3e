"""Deadlines for whole downloads: sockets are shut down when their download's time is up.

Socket timeouts bound each wait for a byte, not the sum of the waits: a server may send a header byte by byte for hours.
"""

from __future__ import annotations

import socket
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_TICK_S = 0.1  # a socket is shut down at most this long after its deadline


@dataclass(eq=False, slots=True)
class _Block:
    """A thread's `with` block and the sockets it has used."""

    ends: float
    sockets: list[socket.socket] = field(default_factory=list)


class Deadlines:
    """Shuts down sockets after their deadline, even while a thread waits on them. For any number of threads."""

    def __init__(self) -> None:
        self._local = threading.local()
        self._lock = threading.Lock()
        self._sockets: dict[socket.socket, _Block] = {}
        self._has_sockets = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def until(self, ends: float) -> Iterator[None]:
        """Shut down what this thread connects or reads in the block once `time.monotonic()` passes `ends`."""
        block = self._local.block = _Block(ends)
        try:
            yield
        finally:
            self._local.block = None
            with self._lock:
                for sock in block.sockets:
                    # Another thread may use a connection by now that a redirect left in the pool.
                    if self._sockets.get(sock) is block:
                        del self._sockets[sock]
                if not self._sockets:
                    self._has_sockets.clear()

    def cap(self, timeout_s: float) -> float:
        """Return `timeout_s`, or the seconds left in this thread's block if they are fewer."""
        block = self._block()
        return timeout_s if block is None else max(0.001, min(timeout_s, block.ends - time.monotonic()))

    def watch(self, sock: socket.socket) -> None:
        """Shut `sock` down at the end of this thread's block; outside of a block, do nothing."""
        block = self._block()
        if block is None:
            return
        block.sockets.append(sock)
        with self._lock:
            self._sockets[sock] = block
            self._has_sockets.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._run, name="deadlines", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        self._has_sockets.set()
        if self._thread is not None:
            self._thread.join()

    def _block(self) -> _Block | None:
        block: _Block | None = getattr(self._local, "block", None)
        return block

    def _run(self) -> None:
        while not self._closed:
            self._has_sockets.wait()
            time.sleep(_TICK_S)
            now = time.monotonic()
            with self._lock:
                for sock in [sock for sock, block in self._sockets.items() if block.ends < now]:
                    del self._sockets[sock]
                    with suppress(OSError):
                        # Not sock.shutdown: on a TLS socket it drops state that the reading thread still uses.
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)
