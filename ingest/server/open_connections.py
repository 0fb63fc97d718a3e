"""The service's open connections: what each waits for from its client, for how long, and which is closed first."""

from __future__ import annotations

import logging
import time
from collections import Counter
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

MIN_AGE_S = 0.05
"""A connection is not closed for another one before it had this long to send something."""
SHUTDOWN_S = 2.0
"""How long clients may keep the service waiting once it is being shut down."""
_LOG_INTERVAL_S = 60.0


class Wait(Enum):
    """What a client has to do next. At the limit, connections are closed in this order, the oldest first."""

    HEAD = "head"
    """Send the head of a request, or the rest of it."""
    IDLE = "idle"
    """Nothing: the connection is kept for its next request."""
    BODY = "body"
    """Send the rest of a request's body."""
    ANSWER = "answer"
    """Receive the rest of an answer."""


# A body has five seconds more than its route waits for it, so that the client is sent the reason. Idle connections have
# uvicorn's own timer.
DEADLINES_S = {Wait.HEAD: 10.0, Wait.BODY: 35.0, Wait.ANSWER: 60.0}
LIMIT = "limit"
"""The reason for closing a connection to make room for another one."""
_SAID = {
    Wait.HEAD.value: "did not send a request in time",
    Wait.BODY.value: "did not send the whole body in time",
    Wait.ANSWER.value: "did not receive the answer in time",
}


class Closable(Protocol):
    """A connection."""

    def drop(self) -> None:
        """Close it at once."""


class OpenConnections:
    """Connections by what they wait for, for one event loop.

    At most `limit` should be open. `closed` is called with the reason for each one that is closed early: a value of
    `Wait`, or `LIMIT`.
    """

    def __init__(
        self, limit: int, closed: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._closed = closed
        self._clock = clock
        self._waits: dict[Closable, Wait | None] = {}
        # in the order in which they began to wait, so that the oldest comes first
        self._since: dict[Wait, dict[Closable, float]] = {wait: {} for wait in Wait}
        self._is_closing = False
        self._unlogged: Counter[str] = Counter()
        self._logged_at = -_LOG_INTERVAL_S

    def __len__(self) -> int:
        return len(self._waits)

    def note(self, connection: Closable, wait: Wait | None) -> None:
        """Note what a connection waits for; None if it is the service's turn. The same again keeps its time."""
        before = self._waits.get(connection)
        self._waits[connection] = wait
        if before is wait:
            return
        if before is not None:
            del self._since[before][connection]
        if wait is not None:
            self._since[wait][connection] = self._clock()

    def remove(self, connection: Closable) -> None:
        """Forget a connection that is closed."""
        wait = self._waits.pop(connection, None)
        if wait is not None:
            del self._since[wait][connection]

    def make_room(self, *, also_below_limit: bool = False) -> bool:
        """Return whether one more may be opened, after closing another one if need be."""
        if len(self) < self.limit and not also_below_limit:
            return True
        oldest = next(self._oldest(), None)
        if oldest is not None:
            self._drop(oldest, LIMIT)
        return oldest is not None

    def close_overdue(self) -> None:
        """Close what has kept the service waiting for too long; log how many, at most once a minute."""
        now = self._clock()
        for wait, deadline in DEADLINES_S.items():
            allowed = min(deadline, SHUTDOWN_S) if self._is_closing else deadline
            for connection in [one for one, since in self._since[wait].items() if now - since >= allowed]:
                self._drop(connection, wait.value)
        if self._unlogged and now - self._logged_at >= _LOG_INTERVAL_S:
            log.warning("%s", self._describe())
            self._unlogged.clear()
            self._logged_at = now

    def shut_down(self) -> None:
        """From now on, give clients only `SHUTDOWN_S` for anything."""
        self._is_closing = True
        now = self._clock()
        for since in self._since.values():
            since.update(dict.fromkeys(since, now))

    def _oldest(self) -> Iterator[Closable]:
        before = self._clock() - MIN_AGE_S
        for since in self._since.values():
            for connection, began in since.items():
                if began > before:
                    break
                yield connection

    def _drop(self, connection: Closable, reason: str) -> None:
        self.remove(connection)
        self._closed(reason)
        self._unlogged[reason] += 1
        connection.drop()

    def _describe(self) -> str:
        parts = [f"{count} {_SAID[reason]}" for reason, count in sorted(self._unlogged.items()) if reason in _SAID]
        if count := self._unlogged[LIMIT]:
            parts.append(f"{count} made room for others, because at most {self.limit} may be open")
        return f"closed connections: {'; '.join(parts)}"
