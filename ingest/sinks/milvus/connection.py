"""The one door to Milvus: connects, waits out what passes, and turns every failure into one `MilvusError`.

Codes are Milvus' own (https://github.com/milvus-io/milvus/blob/master/pkg/util/merr/errors.go); a timeout comes
as a bare `grpc.RpcError`, not as pymilvus' exception.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from ingest.errors import BusyError, MilvusError
from ingest.store.lock import holding_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
CALL_TIMEOUT_S = 120.0
"""Long enough for a load or a flush of millions of rows; a call that is refused answers at once."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

_PASSING_CODES = {
    1,  # service not ready … checked by message, since clients use 1 for their own errors too
    2,  # service unavailable, connection lost
    4,  # request limit
    8,  # rate limit
    9,  # quota: memory or disk, writes denied for now
    101,  # collection not loaded, as after a server's restart
    106,  # collection not fully loaded
    503,  # a node of the cluster is not available
}
_PASSING_STATUS = {"UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
_NOT_READY = re.compile(r"not ready|recovering|starting|initializing|quota exceeded|rate limit", re.IGNORECASE)


class Connection:
    """A MilvusClient whose every call goes through `call`.

    `max_wait` bounds, in seconds, how long one call is tried again while the server is away or busy; `stop` ends
    such waiting at once.
    """

    def __init__(
        self, uri: str, token: str, db_name: str, max_wait: float, stop: threading.Event | None = None
    ) -> None:
        self.shown, target, user = _target(uri)
        self._target = target
        self.is_lite = not uri.startswith(("http://", "https://", "tcp://", "unix:"))
        self._secrets = [secret for secret in {token, user, *token.split(":")[1:]} if secret]
        self._max_wait = max_wait
        self._stop = stop or threading.Event()
        client_class = _client_class()
        arguments: dict[str, Any] = {"uri": target, "timeout": CONNECT_TIMEOUT_S}
        if token or user:
            arguments["token"] = token or user
        if db_name:
            arguments["db_name"] = db_name
        self.client: Any = self.call("connect", client_class, **arguments)

    def call(self, doing: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function`, again while the failure is one that passes; raises MilvusError, naming `doing`."""
        import grpc
        from pymilvus.exceptions import MilvusException
        from tenacity import (
            Retrying,
            retry_if_exception,
            sleep_using_event,
            stop_after_delay,
            stop_when_event_set,
            wait_random_exponential,
        )

        started = time.monotonic()

        def say(state: Any) -> None:
            error = state.outcome.exception()
            log.warning(
                "waiting for Milvus at %s (%s): %s; %.0f of at most %.0f s",
                self.shown, doing, self._first_line(error), time.monotonic() - started, self._max_wait,
            )  # fmt: skip

        attempts = Retrying(
            retry=retry_if_exception(lambda error: doing != "connect" and _passes(error)),
            stop=stop_after_delay(self._max_wait) | stop_when_event_set(self._stop),
            sleep=sleep_using_event(self._stop),
            wait=wait_random_exponential(multiplier=_FIRST_PAUSE_S, max=_LONGEST_PAUSE_S),
            before_sleep=say,
            reraise=True,
        )
        try:
            return attempts(function, *args, **kwargs)
        except (MilvusException, grpc.RpcError, ValueError, OSError) as error:
            if doing == "connect" and "local milvus failed" in str(error):
                raise BusyError(
                    f"{self.shown}: another program holds this Milvus Lite file, or it is damaged; end that one, or "
                    "use a server: --uri http://…"
                ) from error
            raise MilvusError(f"Milvus at {self.shown}: cannot {doing}: {self._explain(error)}") from error

    def close(self) -> None:
        """Close the client; a Lite file is free for others afterwards."""
        self.client.close()
        if self.is_lite:  # its server runs in this process, on and with the file locked, until it is told to stop
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self._target)

    def _explain(self, error: BaseException) -> str:
        text = self._first_line(error)
        low = text.lower()
        if "fail connecting" in low or "unavailable" in low:
            return f"{text}; is it running? docker compose up -d --wait, or ingest doctor"
        if "auth" in low or "unauthenticated" in low or "permission" in low:
            return f"{text}; check MILVUS_TOKEN (user:password, or an API key)"
        if "database not found" in low or getattr(error, "code", None) == 800:
            return f"{text}; check --db-name"
        return text

    def _first_line(self, error: BaseException) -> str:
        details = getattr(error, "details", None)
        text = str(getattr(error, "message", "") or (details() if callable(details) else "") or error)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__


@contextmanager
def opened(
    uri: str,
    token: str,
    db_name: str,
    max_wait: float,
    stop: threading.Event | None = None,
    *,
    existing: bool = False,
) -> Iterator[Connection]:
    """Connect, and close at the block's end.

    With `existing` a Milvus Lite file must be there already, so that asking makes none. Raises MilvusError, and
    BusyError where another process has the Lite file open.
    """
    if existing and "://" not in uri and not Path(uri).expanduser().exists():
        raise MilvusError(f"{uri}: no such Milvus Lite file; fill it with: ingest run, or pass --uri")
    with ExitStack() as stack:
        if "://" not in uri:
            _shown, path, _user = _target(uri)
            stack.enter_context(holding_file(Path(path)))
        connection = Connection(uri, token, db_name, max_wait, stop)
        stack.callback(connection.close)
        yield connection


def _passes(error: BaseException) -> bool:
    status = getattr(error, "code", None)
    if callable(status):
        return getattr(status(), "name", "") in _PASSING_STATUS
    if status in {1, 65535}:
        return _NOT_READY.search(str(error)) is not None
    return status in _PASSING_CODES or _NOT_READY.search(str(error)) is not None


def _client_class() -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the C core prints past every logger
    from pymilvus import MilvusClient

    # pymilvus prints a traceback for every failed call; it is told once, by us.
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return MilvusClient


def _target(uri: str) -> tuple[str, str, str]:
    """Return what to show, what to connect to, and `user:password` where the URI carries one."""
    if "://" in uri:
        parts = urlsplit(uri)
        user = unquote(f"{parts.username}:{parts.password or ''}") if parts.username else ""
        bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        return bare, bare, user
    path = Path(uri).expanduser()
    if path.suffix != ".db":
        raise MilvusError(f"--uri {uri}: neither http://… nor a Milvus Lite file, whose name ends in .db")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MilvusError(f"--uri {uri}: its folder cannot be made ({error.strerror})") from error
    return uri, str(path), ""
