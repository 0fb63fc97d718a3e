"""The stand-in as a server: gRPC on a loopback port, records every request, and fails on demand."""

from __future__ import annotations

import base64
import threading
import time
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import grpc

from milvus_versions.standin import aliases, databases, definitions, imports, loading, reading, writing  # noqa: F401
from milvus_versions.standin.call import METHODS, OPERATIONS, Call, refused
from milvus_versions.standin.catalog import Catalog
from milvus_versions.standin.dialect import Dialect
from milvus_versions.standin.front import front
from milvus_versions.standin.refusal import RefusalError
from milvus_versions.standin.rest import rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_SERVICE = "milvus.proto.milvus.MilvusService"
MAX_REQUEST = 64 * 2**20
"""proxy.grpc.serverMaxRecvSize, 67108864 in configs/milvus.yaml of all versions."""
MAX_ANSWER = 100 * 2**20
"""quotaAndLimits.limits.maxOutputSize, 104857600 in configs/milvus.yaml of all versions."""


@dataclass(frozen=True, slots=True)
class Request:
    """A received request: its method, the database in its body and in its metadata, who sent it, and the message."""

    method: str
    in_body: str
    in_metadata: str
    user: str
    message: Any


class Held(threading.Event):
    """Holds a request until it is set; `reached` is set when the request has arrived."""

    def __init__(self) -> None:
        super().__init__()
        self.reached = threading.Event()


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests of a method: an error, or a wait, before or after the work."""

    method: str
    times: int = 1
    refusal: RefusalError | None = None
    status: grpc.StatusCode | None = None
    wait: Held | None = None
    done_first: bool = False
    but_for: str = ""

    def is_for(self, method: str, request: Any) -> bool:
        """Return whether it applies to a request: not to one for a collection with `but_for` in its name."""
        about = getattr(request, "collection_name", "")
        return self.times > 0 and self.method == method and not (self.but_for and self.but_for in about)


@dataclass
class Server:
    """One stand-in: its dialect, data, recorded requests, and the faults to come.

    `import_folders` maps folders on the server to folders here. `alias_stale` is how many searches and queries
    through an alias get the collection it pointed to before, and `alias_stale_s` for how long, of versions whose
    proxies do that. `flush_every_s` is how far apart flushes of a collection must be, 10 s at a real one since 2.4.
    `import_s` is how long an import job takes, for ever while `imports_held`. `users` are passwords, and `grants` the
    databases that a user may use, all of them if there is none; without users nobody is asked.
    """

    dialect: Dialect
    catalog: Catalog = field(default_factory=Catalog)
    import_folders: dict[str, str] = field(default_factory=dict)
    alias_stale: int = 0
    alias_stale_s: float = 0.0
    flush_every_s: float = 0.0
    import_s: float = 0.0
    imports_held: bool = False
    max_answer: int = MAX_ANSWER
    users: dict[str, str] = field(default_factory=dict)
    grants: dict[str, set[str]] = field(default_factory=dict)
    jobs: dict[int, Any] = field(default_factory=dict)
    uri: str = ""
    faults: list[Fault] = field(default_factory=list)
    _seen: list[Request] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def requests(self, *methods: str) -> list[Request]:
        """Return the requests so far, oldest first: all, or those of these methods."""
        with self._lock:
            return [request for request in self._seen if not methods or request.method in methods]

    def forget(self) -> None:
        """Forget the requests so far."""
        with self._lock:
            self._seen.clear()

    def fail(self, method: str, code: int, reason: str, times: int = 1, **more: Any) -> None:
        """Refuse the next requests of a method."""
        self.faults.append(Fault(method, times, RefusalError(code, reason, **more)))

    def hold(self, method: str, *, done_first: bool = False, but_for: str = "") -> Held:
        """Make the next request of a method wait for the event, before its work or before its answer."""
        held = Held()
        self.faults.append(Fault(method, wait=held, done_first=done_first, but_for=but_for))
        return held

    def wait_for(self, method: str, times: int = 1, timeout_s: float = 30.0) -> None:
        """Wait until a method was called so many times."""
        ends = time.monotonic() + timeout_s
        while len(self.requests(method)) < times:
            assert time.monotonic() < ends, f"{method} was not asked for"
            time.sleep(0.005)

    def collections(self, database: str = "default") -> list[str]:
        """Return the names of a database's collections."""
        return sorted(self.catalog.databases[database].collections)

    def collection(self, name: str, database: str = "default") -> Any:
        """Return a collection by its name or alias."""
        return self.catalog.databases[database].find(name)

    def note(self, method: str, in_body: str, in_metadata: str, user: str, message: Any) -> None:
        """Record a request."""
        with self._lock:
            self._seen.append(Request(method, in_body, in_metadata, user, message))

    def handle(self, method: str, request: Any, context: Any) -> Any:
        """Answer one request."""
        metadata = dict(context.invocation_metadata())
        in_body = getattr(request, "db_name", "") if method not in databases.NAMED else ""
        call = Call(self, method, request, in_body, metadata.get("dbname", ""), _user(metadata))
        self.note(method, in_body, call.in_metadata, call.user, _copied(request))
        with self._lock:
            fault = next((fault for fault in self.faults if fault.is_for(method, request)), None)
            if fault:
                fault.times -= 1
        if fault and not fault.done_first:
            _befall(fault, method, context)
        answer = self._answer(call, context)
        if fault and fault.done_first:
            _befall(fault, method, context)
        if fault and fault.refusal:
            return refused(method, fault.refusal)
        return answer

    def _answer(self, call: Call, context: Any) -> Any:
        if call.method not in OPERATIONS:
            context.abort(grpc.StatusCode.UNIMPLEMENTED, f"the stand-in does not know {call.method}")
        try:
            databases.check_rights(call, _password(dict(context.invocation_metadata())))
            with self.catalog.lock:
                return OPERATIONS[call.method](call)
        except databases.UnauthenticatedError as refusal:
            return context.abort(grpc.StatusCode.UNAUTHENTICATED, str(refusal))
        except databases.ForbiddenError as refusal:
            return context.abort(grpc.StatusCode.PERMISSION_DENIED, str(refusal))
        except RefusalError as refusal:
            return refused(call.method, refusal)


@contextmanager
def serve(version: str, **settings: Any) -> Iterator[Server]:
    """Start a stand-in of this version in this process, and stop it at the block's end."""
    stand_in = Server(Dialect(version), **settings)
    options = [
        ("grpc.max_receive_message_length", MAX_REQUEST),
        ("grpc.max_send_message_length", -1),
        ("grpc.so_reuseport", 0),
    ]
    server = grpc.server(futures.ThreadPoolExecutor(16, thread_name_prefix="standin"), options=options)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            _handler(stand_in, name), method.input_type._concrete_class.FromString, _sent
        )
        for name, method in METHODS.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    behind = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        with rest(stand_in) as http, front(behind, http) as port:
            stand_in.uri = f"http://127.0.0.1:{port}"
            yield stand_in
    finally:
        for fault in stand_in.faults:
            if fault.wait:
                fault.wait.set()
        server.stop(0).wait()


def _handler(stand_in: Server, method: str) -> Callable[[Any, Any], Any]:
    return lambda request, context: stand_in.handle(method, request, context)


def _befall(fault: Fault, method: str, context: Any) -> None:
    if fault.wait:
        fault.wait.reached.set()
        fault.wait.wait(60)
    if fault.status:
        context.abort(fault.status, f"{method}: as ordered")


def _copied(message: Any) -> Any:
    made = type(message)()
    made.CopyFrom(message)
    return made


def _sent(message: Any) -> bytes:
    return bytes(message.SerializeToString())


def _credentials(metadata: dict[str, str]) -> tuple[str, str]:
    """Return user and password: Milvus clients send them in base64, without the word Basic."""
    user, _, password = base64.b64decode(metadata.get("authorization", "")).decode().partition(":")
    return user, password


def _user(metadata: dict[str, str]) -> str:
    return _credentials(metadata)[0]


def _password(metadata: dict[str, str]) -> str:
    return _credentials(metadata)[1]
