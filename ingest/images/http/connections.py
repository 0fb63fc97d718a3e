"""Connections that go only where the border allows, and end when their picture's time is up.

A name is resolved once for each connection, each address is judged, and the socket connects to the very address
that was judged: a name whose answer changes between check and use gains nothing. Proxies of the environment are
not used, since behind one nobody here could see what is connected to.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ingest.core.records import Reason
from ingest.images.urls import DownloadError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ingest.images.http.addresses import AddressPolicy

_TICK_S = 0.1  # how late a connection may be ended after its deadline
_MAX_ADDRESSES = 4  # of one name, tried one after the other
_HOSTS_KEPT = 256


class Deadlines:
    """Ends connections whose time is up, even while a thread waits on them for a server that drips bytes.

    Socket timeouts bound each wait for a byte, not their sum: a header may come a byte at a time for hours.
    """

    def __init__(self) -> None:
        self._own = threading.local()
        self._lock = threading.Lock()
        self._sockets: dict[socket.socket, tuple[float, object]] = {}
        self._awake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False

    @contextmanager
    def until(self, ends: float) -> Iterator[None]:
        """End what this thread connects or reads in the block when `time.monotonic()` passes `ends`."""
        self._own.ends, self._own.watched = ends, []
        try:
            yield
        finally:
            watched: list[socket.socket] = self._own.watched
            self._own.ends = None
            with self._lock:
                for sock in watched:
                    # A connection that a redirect left behind may be another thread's by now.
                    if self._sockets.get(sock, (0.0, None))[1] is watched:
                        del self._sockets[sock]
                if not self._sockets:
                    self._awake.clear()

    def left(self, at_most: float) -> float:
        """Return the seconds that this thread's block still has, `at_most` where it has more."""
        ends: float | None = getattr(self._own, "ends", None)
        return at_most if ends is None else max(0.001, min(at_most, ends - time.monotonic()))

    def watch(self, sock: socket.socket) -> None:
        """Have `sock` ended with this thread's block."""
        ends: float | None = getattr(self._own, "ends", None)
        if ends is None:
            return
        self._own.watched.append(sock)
        with self._lock:
            self._sockets[sock] = (ends, self._own.watched)
            self._awake.set()
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._end_the_late, name="deadlines", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Stop watching."""
        self._closed = True
        self._awake.set()
        if self._thread is not None:
            self._thread.join()

    def _end_the_late(self) -> None:
        while not self._closed:
            self._awake.wait()
            time.sleep(_TICK_S)
            now = time.monotonic()
            with self._lock:
                for sock in [sock for sock, (ends, _) in self._sockets.items() if ends < now]:
                    del self._sockets[sock]
                    with suppress(OSError):
                        # Not sock.shutdown: that of a TLS socket pulls its state from under the thread that reads.
                        socket.socket.shutdown(sock, socket.SHUT_RDWR)


def pool_manager(border: AddressPolicy, deadlines: Deadlines, per_host: int) -> urllib3.PoolManager:
    """Return a pool of kept-alive connections, at most `per_host` kept for each host.

    Its `urlopen` takes the path and query that are sent as `target`.
    """
    pools = urllib3.PoolManager(
        num_pools=_HOSTS_KEPT, maxsize=per_host, retries=False, ssl_context=_tls_context(), blocksize=65_536
    )

    class Guarded:
        def _new_conn(self: Any) -> socket.socket:
            return _connected(self, border, deadlines)

        def getresponse(self: Any) -> Any:
            deadlines.watch(self.sock)
            return super().getresponse()  # type: ignore[misc]

    class Plain(Guarded, HTTPConnection):
        """HTTP to an address that was judged."""

    class Secure(Guarded, HTTPSConnection):
        """HTTPS to an address that was judged."""

    class Exact:
        def _make_request(self: Any, connection: Any, method: str, _: str, *, target: str, **rest: Any) -> Any:
            """Send the path and query as they are: urllib3 writes %2f as %2F, which a signature may not survive."""
            return super()._make_request(connection, method, target, **rest)  # type: ignore[misc]

    class PlainPool(Exact, urllib3.HTTPConnectionPool):  # type: ignore[misc]
        ConnectionCls = Plain

    class SecurePool(Exact, urllib3.HTTPSConnectionPool):  # type: ignore[misc]
        ConnectionCls = Secure

    pools.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}
    return pools


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()  # the system's certificates, or those of SSL_CERT_FILE
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _connected(connection: Any, border: AddressPolicy, deadlines: Deadlines) -> socket.socket:
    """Return a socket to the first of the host's allowed addresses that answers."""
    host, port = connection._dns_host, connection.port  # noqa: SLF001  urllib3's own way to the name as it was given
    timeout = deadlines.left(connection.timeout or 60.0)
    try:
        found = _resolved(host, port, timeout)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "the name server took too long") from error
    except OSError as error:
        raise NameResolutionError(connection.host, connection, socket.gaierror(*error.args)) from error
    allowed = [entry for entry in found if border.allows(connection.host, str(entry[4][0]))]
    if not allowed:
        raise DownloadError(
            Reason.BLOCKED_ADDRESS,
            f"{connection.host} is {found[0][4][0]}, no public address; to fetch from it all the same: "
            f"--allow-host {connection.host}",
        )
    last: OSError = OSError("no address")
    for family, kind, protocol, _, address in allowed[:_MAX_ADDRESSES]:
        sock = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(deadlines.left(timeout))
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
            continue
        return sock
    if isinstance(last, TimeoutError):
        raise ConnectTimeoutError(connection, "the server took too long") from last
    raise NewConnectionError(connection, str(last)) from last


def _resolved(host: str, port: int, timeout: float) -> list[Any]:
    """Return what the name resolves to; on a thread of its own, since `getaddrinfo` knows no timeout."""
    answer: queue.SimpleQueue[list[Any] | BaseException] = queue.SimpleQueue()

    def ask() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:  # noqa: BLE001  it is raised again where the answer is waited for
            answer.put(error)

    threading.Thread(target=ask, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, BaseException):
        raise found
    if not found:
        raise OSError(socket.EAI_NONAME, "no address")
    return found
