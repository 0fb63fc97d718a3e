"""The one door to Milvus: connects, waits out what passes, and turns every failure into one `MilvusError`."""

from __future__ import annotations

import logging
import os
import random
import shutil
import threading
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ingest.core.errors import BusyError, IngestError, InterruptedRunError, MilvusError
from ingest.milvus import error_codes, lite, uris
from ingest.runtime import openmp
from ingest.runtime.atomic_files import reason
from ingest.runtime.lock import lock_file, lock_file_shared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
WRITE_TIMEOUT_S = 20.0
"""For a batch of rows, which takes a second or less: a connection that went silent is noticed by then."""
CALL_TIMEOUT_S = 600.0
"""Long enough for a load or a flush of millions of rows, as long as the server answers other calls meanwhile."""
_ANSWER_S, _LEAST_S, _SIGN_OF_LIFE_S = 20.0, 10.0, 5.0
"""How long one try of a call may take, the least of it where little waiting is left, and for a sign of life."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 10.0

_SAY_EVERY_S = 10.0


class Connection:
    """A MilvusClient whose every call goes through `call`.

    `max_wait` bounds, in seconds, how long one call is tried again while the server is away or busy; `stop` ends
    such waiting at once. A server that gives no answer is found out after some seconds more. A Milvus Lite file may be
    opened at another `place` than it has.
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
        """Call `function`, again while the failure is one that passes.

        `timeout` is how long the work itself may take, in seconds: a server that is still at it, and answers other
        calls, is not away. Raises MilvusError, naming `doing`, BusyError where another process holds the Milvus Lite
        file, and InterruptedRunError where it was told to stop while it waited.
        """
        import grpc
        from pymilvus.exceptions import MilvusException

        ends = time.monotonic() + kwargs.get("timeout", 0)
        pause, heard = _FIRST_PAUSE_S, time.monotonic()
        while True:
            left = self._max_wait - (time.monotonic() - heard)
            try:
                return function(*args, **self._bounded(function, kwargs, left))
            except (MilvusException, grpc.RpcError, ValueError, OSError) as error:
                if error_codes.is_timeout(error) and time.monotonic() < ends and self._lives():
                    heard = time.monotonic()
                    self.say(f"Milvus at {self.shown} is still at work ({doing}); waiting for it")
                    continue
                left = self._max_wait - (time.monotonic() - heard)
                if doing == "connect" or not error_codes.is_transient(error) or left <= 0:
                    raise self._error(doing, error) from error
                said = self._without_secrets(error_codes.first_line(error))
                self.say(
                    f"waiting for Milvus at {self.shown} ({doing}): {said}; at most {self._max_wait:.0f} s, "
                    "and embedding goes on"
                )
                # Many wait for the same server: spread out, they do not all come back at once.
                self.pause(min(left, pause * random.uniform(0.5, 1.0)), doing)  # noqa: S311
                pause = min(2 * pause, _LONGEST_PAUSE_S)

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
        """What names the database in a call's metadata, where the servers look for it.

        pymilvus (3.0.2) sends it only if it is given: a call without is for the database `default`, whatever its
        message says.
        """
        return self.client._generate_call_context()  # noqa: SLF001

    def upsert(self, request: Any) -> None:
        """Send an `UpsertRequest` that is packed already, once."""
        request.db_name = self.db_name
        # MilvusClient takes rows alone; the handler under it takes the message. Left to itself it would ask for the
        # schema before each, and wait out a limited rate 75 times over and without a word.
        self.direct(
            "upsert", request.collection_name, [], upsert_param=request, schema={"fields": []},
            timeout=WRITE_TIMEOUT_S, retry_on_rate_limit=False,
        )  # fmt: skip

    def say(self, what: str) -> None:
        """Say what is waited for, at most every few seconds: a server that limits the rate refuses often."""
        with self._saying:  # two calls may be under way
            now = time.monotonic()
            if self._said and now - self._said < _SAY_EVERY_S:
                return
            self._said = now
        log.warning("%s", what)

    def pause(self, seconds: float, doing: str) -> None:
        """Wait before the server is asked again; raises InterruptedRunError if the user has asked to stop."""
        if self._stop.wait(seconds):
            raise self._interrupted(doing)

    def close(self) -> None:
        """Close the client; a Lite file is free for other processes when this one ends."""
        self.client.close()
        if self.is_lite:  # its server runs in this process, on and with the file locked, until it is told to stop
            from milvus_lite.server_manager import server_manager_instance

            server_manager_instance.release_server(self.place)

    def _bounded(self, function: Callable[..., Any], kwargs: dict[str, Any], left: float) -> dict[str, Any]:
        """Give each try of a client's call a timeout: without one pymilvus tries 75 times, or waits for ever."""
        if self.is_lite or getattr(function, "__self__", None) is not getattr(self, "client", self):
            return kwargs
        longest = min(kwargs.get("timeout", _ANSWER_S), _ANSWER_S)
        return {**kwargs, "timeout": min(longest, max(left, _LEAST_S))}

    def _lives(self) -> bool:
        """Tell whether the server answers a small call."""
        import grpc
        from pymilvus.exceptions import MilvusException

        if self.is_lite or self._stop.is_set():
            return False
        try:
            self.client.list_collections(timeout=_SIGN_OF_LIFE_S)
        except (MilvusException, grpc.RpcError, ValueError, OSError):
            return False
        return True

    def _error(self, doing: str, error: BaseException) -> IngestError:
        if doing == "connect" and self.is_lite and _is_held(self.place):
            return _busy(self.shown)
        told = error_codes.explain(error, connecting=doing == "connect", tls=self.shown.startswith("https:"))
        return MilvusError(f"Milvus at {self.shown}: cannot {doing}: {self._without_secrets(told)}")

    def _interrupted(self, doing: str) -> InterruptedRunError:
        return InterruptedRunError(
            f"interrupted while waiting for Milvus at {self.shown} ({doing}); what was embedded is stored; "
            "run the same command again to go on"
        )

    def _without_secrets(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return text


@contextmanager
def connect(
    uri: str,
    token: str,
    db_name: str,
    max_wait: float,
    stop: threading.Event | None = None,
    *,
    existing: bool = False,
    reading: bool = False,
) -> Iterator[Connection]:
    """Connect, and close at the block's end.

    With `existing` a Milvus Lite file must be there already, and no file is made beside it; with `reading`, nothing is
    changed in it either. Raises MilvusError, and BusyError where another process has the Lite file open.
    """
    existing = existing or reading
    place = ""
    if existing and "://" not in uri and not Path(uri).expanduser().exists():
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
                place = str(stack.enter_context(_stand_in(path)))
        connection = Connection(uri, token, db_name, max_wait, stop, place)
        stack.callback(connection.close)
        yield connection


@contextmanager
def _stand_in(path: Path) -> Iterator[Path]:
    with ExitStack() as stack:
        try:
            place = stack.enter_context(lite.stand_in(path))
        except BlockingIOError as error:
            raise _busy(str(path)) from error
        except (OSError, shutil.Error) as error:
            raise MilvusError(f"{path}: cannot be read ({reason(error)}); make it readable, or set TMPDIR") from error
        yield place


def _busy(shown: str) -> BusyError:
    return BusyError(
        f"{shown}: another process holds this Milvus Lite file; wait for it, or use a server, which serves many: "
        "docker compose up -d --wait"
    )


def _is_held(uri: str) -> bool:
    """Tell whether another process has a Milvus Lite file open: pymilvus says only that it could not open it."""
    if os.name == "nt":  # where there is neither Milvus Lite nor flock
        return False
    import fcntl

    try:
        with (Path(uri).expanduser() / "LOCK").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _client_class() -> Any:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # the C core prints past every logger
    os.environ.pop("MILVUS_URI", None)  # pymilvus reads it on import, and fails there if it names a Lite file
    from pymilvus import MilvusClient

    # pymilvus prints a traceback for every failed call; it is told once, by us.
    for name in ("pymilvus", "pymilvus.milvus_client", "milvus_lite"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    return MilvusClient
