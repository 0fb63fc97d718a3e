"""HTTP/1.1 as uvicorn speaks it, with deadlines for clients and limits on what is dear to parse."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from ingest.server.open_connections import Wait

if TYPE_CHECKING:
    import asyncio

    from uvicorn import Config
    from uvicorn.server import ServerState

    from ingest.server.open_connections import OpenConnections

MAX_HEAD_BYTES = 2**16
MAX_HEADERS = 100
"""Lines of a head; browsers send some 20. h11 takes 0.4 s for the 16,000 that fit into a head."""
MAX_SMALL_PIECES, SMALL_BYTES = 4096, 16
"""Maximum pieces of a body if their mean size is smaller: a chunk of one byte costs as much as one of 64 KiB."""
_HEAD_END = re.compile(rb"\n\r?\n")


class _Parser(h11.Connection):
    """h11 with limits on the number of headers and of small chunks."""

    def __init__(self) -> None:
        super().__init__(h11.SERVER, MAX_HEAD_BYTES)
        self._pieces = self._bytes = 0

    @property
    def has_begun_a_head(self) -> bool:
        """Whether a part of the next head has arrived."""
        return self.their_state is h11.IDLE and bool(self.trailing_data[0])

    def next_event(self) -> Any:
        """Return h11's next event; raises RemoteProtocolError for what is over a limit, too."""
        if self.their_state is h11.IDLE and self._count_headers() > MAX_HEADERS:
            raise h11.RemoteProtocolError("too many headers")
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._pieces = self._bytes = 0
        elif isinstance(event, h11.Data):
            self._pieces += 1
            self._bytes += len(event.data)
            if self._pieces > MAX_SMALL_PIECES and self._bytes < SMALL_BYTES * self._pieces:
                raise h11.RemoteProtocolError("the body comes in too many small pieces")
        return event

    def _count_headers(self) -> int:
        pending = self.trailing_data[0]
        end = _HEAD_END.search(pending)
        return pending.count(b"\n", 0, end.start() if end else len(pending))


class HttpProtocol(H11Protocol):
    """A connection that always says what it waits for, so that one that waits too long can be closed."""

    def __init__(
        self, config: Config, server_state: ServerState, app_state: dict[str, Any], connections: OpenConnections
    ) -> None:
        super().__init__(config, server_state, app_state)
        self.conn: _Parser = _Parser()
        self._open_connections = connections

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing is paused while any byte waits for the client
        self._note()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        super().connection_lost(exc)
        self._open_connections.remove(self)

    def data_received(self, data: bytes) -> None:
        """Parse what arrived."""
        super().data_received(data)
        self._note()

    def on_response_complete(self) -> None:
        """Wait for the next request."""
        super().on_response_complete()
        self._note()

    def pause_writing(self) -> None:
        """Wait for the client, which does not receive as fast as we send."""
        super().pause_writing()
        self._note()

    def resume_writing(self) -> None:
        """Go on, because the client received everything."""
        super().resume_writing()
        self._note()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not valid HTTP, also while an answer is being made or sent."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True  # the route must not answer, too
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            super().send_400_response(msg)
        else:
            self.transport.close()

    def drop(self) -> None:
        """Close the connection at once; what was not sent yet is lost."""
        self.transport.abort()

    def _note(self) -> None:
        if self in self.connections:
            self._open_connections.note(self, self._wait())

    def _wait(self) -> Wait | None:
        if self.flow.write_paused:
            return Wait.ANSWER
        if self.conn.their_state is h11.SEND_BODY:
            return Wait.BODY
        if self.conn.their_state is h11.IDLE:
            return Wait.HEAD if self.cycle is None or self.conn.has_begun_a_head else Wait.IDLE
        return None
