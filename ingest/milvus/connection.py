"""The only door to Milvus: connects, retries transient failures, turns every other one into a single `MilvusError`."""

from __future__ import annotations

import logging
import random
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core.errors import IngestError, InterruptedRunError, MilvusError, StorageError
from ingest.milvus import error_codes, lite, uris
from ingest.runtime import openmp
from ingest.runtime.environment import variables
from ingest.runtime.lock import lock_file, lock_file_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ingest.core.settings import MilvusSettings

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 20.0
"""For a batch of rows, which takes a second or less: a connection that went silent is noticed by then."""
CALL_TIMEOUT_S = 600.0
"""Long enough to load or flush millions of rows, as long as the server answers other calls meanwhile."""
_MAX_TRY_S, _MIN_TRY_S = 20.0, 10.0
"""How long one try of a call may take, and the least it gets when little waiting time is left."""
_PROBE_S = 5.0
"""How long a server may take to answer the small call that shows that it is alive."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

_SAY_EVERY_S = 10.0


class Connection:
    """A MilvusClient whose every call goes through `call`.

    `max_wait` bounds, in seconds, how long a call is retried while the server is away or busy; `stop` ends such a wait
    at once. It takes a few seconds more to notice that a server does not answer. `place` opens a Milvus Lite file at
    another path than `uri`.
    """

    def __init__(
        self, uri: str, token: str, db_name: str, max_wait: float, stop: threading.Event | None = None, place: str = ""
    ) -> None:
        self.shown, target, user = uris.target(uri)
        self.place = target = place or target
        self.is_lite = not uri.startswith(("http://", "https://", "tcp://", "unix:"))
        self._secrets = [secret for secret in {token, user, *token.split(":")[1:], *user.split(":")[1:]} if secret]
        self.db_name, self.token = db_name, token or user
        self._max_wait = max_wait
        self._stop = stop or threading.Event()
        self._said = 0.0
        self._saying = threading.Lock()
        if self.is_lite:
            openmp.before_lite()
        client_class = _client_class()
        arguments: dict[str, Any] = {"uri": target, "timeout": CONNECT_TIMEOUT_S}
        if token or user:
            arguments["token"] = token or user
        if db_name:
            arguments["db_name"] = db_name
        self.client: Any = self.call("connect", client_class, **arguments)

    def call(self, doing: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Call `function`, and retry it while it fails transiently.

        `timeout` is how long the work itself may take, in seconds: a server that is still working and answers other
        calls does not count as away. Raises MilvusError, which names `doing`; BusyError if another process holds the
        Milvus Lite file; StorageError if its disk is full; InterruptedRunError if it is stopped while it waits.
        """
        work_ends = time.monotonic() + kwargs.get("timeout", 0)
        patience = _Patience(self._max_wait)
        while True:
            try:
                return function(*args, **self._limit_try(function, kwargs, patience.left_s))
            except _expected_errors() as error:
                if error_codes.is_timeout(error) and time.monotonic() < work_ends and self._is_alive():
                    patience.restart()
                    self.say(f"Milvus at {self.shown} is still working ({doing}); waiting for it")
                    continue
                left_s = patience.left_s
                if doing == "connect" or not error_codes.is_transient(error) or left_s <= 0:
                    raise self._error(doing, error) from error
                said = self._without_secrets(error_codes.first_line(error))
                self.say(
                    f"waiting for Milvus at {self.shown} ({doing}): {said}; for at most {self._max_wait:.0f} s, while "
                    "embedding continues"
                )
                self.pause(min(left_s, patience.next_pause_s()), doing)

    def direct(self, method: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the handler under MilvusClient, for what MilvusClient has no method for."""
        return getattr(self._handler, method)(*args, context=self._context, **kwargs)

    def request(self, name: str, message: Any, timeout: float) -> Any:
        """Send a message of Milvus' API once, for what pymilvus has no call for; raises pymilvus' errors."""
        from pymilvus.client.utils import check_status

        message.db_name = self.db_name
        send = getattr(self._handler._stub, name)  # noqa: SLF001
        answer = send(message, timeout=timeout, metadata=self._context.to_grpc_metadata())
        check_status(answer.status)
        return answer

    @property
    def _handler(self) -> Any:
        return self.client._get_connection()  # noqa: SLF001

    @property
    def _context(self) -> Any:
        """The call context, which names the database in a call's metadata, where servers look for it.

        pymilvus (3.0.2) sends it only if it is given: a call without one goes to the database `default`, whatever its
        message says.
        """
        return self.client._generate_call_context()  # noqa: SLF001

    def upsert(self, request: Any) -> None:
        """Send a packed `UpsertRequest` once."""
        request.db_name = self.db_name
        # MilvusClient takes only rows; the handler under it takes the message. By default it would request the schema
        # before each upsert, and retry a rate limit 75 times without a word.
        self.direct(
            "upsert", request.collection_name, [], upsert_param=request, schema={"fields": []},
            timeout=WRITE_TIMEOUT_S, retry_on_rate_limit=False,
        )  # fmt: skip

    def say(self, what: str) -> None:
        """Log what is waited for, at most every few seconds: a server that limits the rate refuses often."""
        with self._saying:  # two calls may be under way
            now = time.monotonic()
            if self._said and now - self._said < _SAY_EVERY_S:
                return
            self._said = now
        log.warning("%s", what)

    def pause(self, seconds: float, doing: str) -> None:
        """Wait before the server is asked again; raises InterruptedRunError if the user has asked to stop."""
        if self._stop.wait(seconds):
            raise InterruptedRunError(
                f"interrupted while waiting for Milvus at {self.shown} ({doing}); what was embedded is stored; "
                "run the same command again to continue"
            )

    def close(self) -> None:
        """Close the client; a Lite file is free for other processes when this one ends."""
        self.client.close()
        if self.is_lite:  # its server runs in this process, with the file open and locked, until it is released
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.place)

    def _limit_try(self, function: Callable[..., Any], kwargs: dict[str, Any], left_s: float) -> dict[str, Any]:
        """Give each try of a client's call a timeout: without one pymilvus tries 75 times, or waits for ever."""
        if self.is_lite or getattr(function, "__self__", None) is not getattr(self, "client", self):
            return kwargs
        longest = min(kwargs.get("timeout", _MAX_TRY_S), _MAX_TRY_S)
        return {**kwargs, "timeout": min(longest, max(left_s, _MIN_TRY_S))}

    def _is_alive(self) -> bool:
        """Return whether the server answers a small call."""
        if self.is_lite or self._stop.is_set():
            return False
        try:
            self.client.list_collections(timeout=_PROBE_S)
        except _expected_errors():
            return False
        return True

    def _error(self, doing: str, error: BaseException) -> IngestError:
        if doing == "connect" and self.is_lite and lite.is_locked(self.place):
            return lite.busy(self.shown)
        if self.is_lite and (fault := error_codes.disk_fault(error)):
            return StorageError(f"{self.shown}: cannot be written ({fault}); make room, or pass --uri on another disk")
        said = error_codes.explain(error, connecting=doing == "connect", tls=self.shown.startswith("https:"))
        return MilvusError(f"Milvus at {self.shown}: cannot {doing}: {self._without_secrets(said)}")

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


class _Patience:
    """How long a server that fails or is silent is still waited for, and how long to pause before the next try."""

    def __init__(self, max_wait_s: float) -> None:
        self._max_wait_s = max_wait_s
        self._pause_s = _FIRST_PAUSE_S
        self.restart()

    def restart(self) -> None:
        """Start the wait again, because the server has shown that it is alive."""
        self._ends = time.monotonic() + self._max_wait_s

    @property
    def left_s(self) -> float:
        """Seconds left, below 0 if there are none."""
        return self._ends - time.monotonic()

    def next_pause_s(self) -> float:
        """Return the next pause, each twice as long as the one before, up to a limit.

        Several threads and processes wait for the same server: random pauses keep them from all coming back at once.
        """
        pause_s = self._pause_s
        self._pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        return pause_s * random.uniform(0.5, 1.0)  # noqa: S311


@contextmanager
def connect(
    server: MilvusSettings, stop: threading.Event | None = None, *, existing: bool = False, reading: bool = False
) -> Iterator[Connection]:
    """Connect, and close at the block's end; `stop` ends waiting for the server.

    With `existing`, a Milvus Lite file must exist already, and no file is made beside it; with `reading`, it is not
    changed either. Raises MilvusError, and BusyError if another process has the Lite file open.
    """
    uri, existing, place = server.uri, existing or reading, ""
    if existing and "://" not in uri and not Path(uris.target(uri)[1]).exists():
        raise MilvusError(
            f"{uris.split_user(uri)[0]}: no such Milvus Lite file; fill it with: ingest run, or pass --uri"
        )
    with ExitStack() as stack:
        if "://" not in uri:
            path = Path(uris.target(uri)[1])
            if not existing:
                uris.make_folder(uri, path.parent)
            stack.enter_context(lock_file_shared(path) if existing else lock_file(path))
            if reading:
                place = str(stack.enter_context(lite.open_copy(path)))
        connection = Connection(uri, server.token, server.db_name, server.max_wait, stop, place)
        stack.callback(connection.close)
        yield connection


def _expected_errors() -> tuple[type[BaseException], ...]:
    """Return what a call of pymilvus may raise for a failure of the server, or of the way there."""
    import grpc
    from pymilvus.exceptions import MilvusException

    return MilvusException, grpc.RpcError, ValueError, OSError


def _client_class() -> Any:
    # gRPC's C core prints past every logger. pymilvus fails on import if MILVUS_URI names a Lite file.
    with nullcontext() if "pymilvus" in sys.modules else variables({"GRPC_VERBOSITY": "NONE"}, without="MILVUS_URI"):
        from pymilvus import MilvusClient

    # pymilvus logs a traceback for every failed call; ingest reports the failure once.
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return MilvusClient
