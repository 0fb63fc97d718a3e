"""One port for gRPC and HTTP, as in a Milvus server (cmux): the first bytes of a connection decide."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_HTTP2 = b"PRI"
_PIECE = 2**18


@contextmanager
def front(grpc: int, http: int) -> Iterator[int]:
    """Listen on a loopback port and forward each connection to one of the two ports."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="front", daemon=True)
    thread.start()
    open_: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_.add(task)
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            first = await reader.readexactly(len(_HTTP2))
            behind, to = await asyncio.open_connection("127.0.0.1", grpc if first == _HTTP2 else http)
            to.write(first)
            try:
                await asyncio.gather(_pass_on(reader, to), _pass_on(behind, writer))
            finally:
                to.transport.abort()
        writer.transport.abort()
        open_.discard(task)

    async def close() -> None:
        server.close()
        for task in list(open_):
            task.cancel()
        await asyncio.gather(*open_, return_exceptions=True)
        await asyncio.sleep(0)

    server = asyncio.run_coroutine_threadsafe(asyncio.start_server(connected, "127.0.0.1", 0), loop).result()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(_PIECE):
        writer.write(piece)
        await writer.drain()
    with suppress(OSError):
        writer.write_eof()
