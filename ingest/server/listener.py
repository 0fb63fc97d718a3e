"""uvicorn's server with an accept loop of our own, which keeps the number of connections below a limit.

asyncio accepts all that wait before it starts the first of them, so that nothing can be closed in time; without a
free descriptor it then logs an error for each (https://github.com/python/cpython/issues/108951).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from typing import TYPE_CHECKING

import uvicorn

from ingest.core.errors import ConfigError
from ingest.server.http_protocol import HttpProtocol

if TYPE_CHECKING:
    import socket

    from ingest.server.open_connections import OpenConnections

log = logging.getLogger(__name__)

BACKLOG = 256
"""Connections that wait to be accepted. Everybody waits behind them: a client that finds no place tries again after a
second, which is sooner than the end of a long queue."""
MAX_CONNECTIONS = 1_000
OWN_DESCRIPTORS = 100
"""Descriptors left for Milvus, images, uploads and libraries."""
_MIN_CONNECTIONS = 16
_CHECK_INTERVAL_S = 1.0
_BURST = 24
"""Connections accepted at once, so that there is a place for a client while the oldest connections are being closed: an
attacker opens each of them again."""
_FULL_S, _FAILED_S = 0.01, 0.2  # pauses of the accept loop
_LOG_INTERVAL_S = 60.0


def connection_limit() -> int:
    """Return how many connections may be open; raises ConfigError if the process may open too few files."""
    try:
        import resource  # not on Windows
    except ImportError:
        return MAX_CONNECTIONS
    allowed, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if allowed == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    if allowed - OWN_DESCRIPTORS < _MIN_CONNECTIONS:
        raise ConfigError(
            f"ingest serve: the process may open only {allowed} files; raise the limit: ulimit -n "
            f"{MAX_CONNECTIONS + OWN_DESCRIPTORS}"
        )
    return min(MAX_CONNECTIONS, allowed - OWN_DESCRIPTORS)


class OncePerMinute(logging.Filter):
    """Lets a warning pass once a minute, because clients can cause them at will; errors always pass."""

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to log the record."""
        if record.levelno > logging.WARNING:
            return True
        now, text = time.monotonic(), record.getMessage()
        if now - self._logged_at.get(text, -_LOG_INTERVAL_S) < _LOG_INTERVAL_S:
            return False
        self._logged_at[text] = now
        return True


class Server(uvicorn.Server):
    """Accepts connections one by one, and closes those that keep it waiting."""

    def __init__(self, config: uvicorn.Config, connections: OpenConnections) -> None:
        super().__init__(config)
        self._connections = connections
        self._accepting: list[asyncio.Task[None]] = []

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve on these sockets until `should_exit` is set."""
        once = OncePerMinute()
        loggers = [log, logging.getLogger("uvicorn.error")]
        for logger in loggers:
            logger.addFilter(once)
        try:
            await super().serve(sockets)
        finally:
            for logger in loggers:
                logger.removeFilter(once)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept connections."""
        await super().startup([])
        self._checking = asyncio.create_task(self._check_deadlines())
        for listening in sockets or []:
            listening.settimeout(0)
            self._accepting.append(asyncio.create_task(self._accept(listening)))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept no more connections, and finish the requests in progress."""
        for task in self._accepting:
            task.cancel()
        await asyncio.gather(*self._accepting, return_exceptions=True)
        self._connections.shut_down()
        await super().shutdown(sockets)
        self._checking.cancel()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        accepted: deque[socket.socket] = deque()
        try:
            while True:
                try:
                    accepted.append((await loop.sock_accept(listening))[0])
                    while len(accepted) < _BURST:
                        accepted.append(listening.accept()[0])
                except BlockingIOError:
                    pass  # nobody else waits
                except OSError as error:  # no descriptors or memory left, or the client is gone already
                    log.warning("cannot accept connections: %s", error.strerror or error)
                    self._connections.make_room(also_below_limit=True)
                    await asyncio.sleep(_FAILED_S)
                while accepted:
                    await self._connect(accepted.popleft())
        finally:
            for one in accepted:
                one.close()

    async def _connect(self, accepted: socket.socket) -> None:
        accepted.settimeout(0)
        try:
            while not self._connections.make_room():  # noqa: ASYNC110  no event: connections also grow old
                await asyncio.sleep(_FULL_S)
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, accepted)
        except OSError:
            accepted.close()
        except asyncio.CancelledError:
            accepted.close()
            raise

    def _protocol(self) -> HttpProtocol:
        return HttpProtocol(self.config, self.server_state, self.lifespan.state, self._connections)

    async def _check_deadlines(self) -> None:
        while True:
            await asyncio.sleep(_CHECK_INTERVAL_S)
            self._connections.close_overdue()
