"""Connections to allowed addresses only, within their download's deadline.

A name is resolved once for each connection, each address is checked, and the socket connects to the very address that
was checked: a name that resolves to something else a moment later gains nothing. Proxies from the environment are not
used, because behind a proxy nobody here could see which address is connected to.
"""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import certifi
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from ingest.core.records import Reason
from ingest.images.urls import DownloadError

if TYPE_CHECKING:
    from ingest.images.http.addresses import AddressPolicy
    from ingest.images.http.deadlines import Deadlines

_MAX_ADDRESSES = 4  # of one name, tried one after the other
_HOSTS_KEPT = 256
_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class _Guard:
    """What every connection has to respect."""

    addresses: AddressPolicy
    deadlines: Deadlines


class ConnectionPools(urllib3.PoolManager):
    """urllib3's pools of kept-alive connections, at most `per_host` kept for each host.

    Their `urlopen` takes the path and query to send as `target`.
    """

    def __init__(self, addresses: AddressPolicy, deadlines: Deadlines, per_host: int) -> None:
        super().__init__(
            num_pools=_HOSTS_KEPT, maxsize=per_host, retries=False, ssl_context=_tls_context(), blocksize=65_536
        )
        self._guard = _Guard(addresses, deadlines)
        self.pool_classes_by_scheme = {"http": _HttpPool, "https": _HttpsPool}

    def _new_pool(self, scheme: str, host: str, port: int, request_context: dict[str, Any] | None = None) -> Any:
        context = dict(request_context or self.connection_pool_kw)
        context["guard"] = self._guard  # the pool passes it on to its connections
        return super()._new_pool(scheme, host, port, context)


class _GuardedConnection:
    """Connects to allowed addresses only, and ends with its thread's deadline."""

    def __init__(self, *arguments: Any, guard: _Guard, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._guard = guard

    def _new_conn(self) -> socket.socket:
        return _connect(self, self._guard)

    def getresponse(self) -> Any:
        self._guard.deadlines.watch(self.sock)  # type: ignore[attr-defined]
        return super().getresponse()  # type: ignore[misc]


class _HttpConnection(_GuardedConnection, HTTPConnection):
    """HTTP."""


class _HttpsConnection(_GuardedConnection, HTTPSConnection):
    """HTTPS."""


class _ExactPool:
    """Sends the path and query byte for byte: urllib3 turns %2f into %2F, which breaks a signature made over it."""

    def _make_request(self, connection: Any, method: str, _: str, *, target: str, **options: Any) -> Any:
        return super()._make_request(connection, method, target, **options)  # type: ignore[misc]


class _HttpPool(_ExactPool, urllib3.HTTPConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HttpConnection


class _HttpsPool(_ExactPool, urllib3.HTTPSConnectionPool):  # type: ignore[misc]
    ConnectionCls = _HttpsConnection


def _tls_context() -> ssl.SSLContext:
    context = ssl.create_default_context()  # the system's certificates, or those of SSL_CERT_FILE
    context.load_verify_locations(certifi.where())
    context.set_alpn_protocols(["http/1.1"])
    return context


def _connect(connection: Any, guard: _Guard) -> socket.socket:
    """Return a socket to the first of the host's allowed addresses that answers."""
    timeout = guard.deadlines.cap(connection.timeout or _TIMEOUT_S)
    last: OSError = OSError("no address")
    for family, kind, protocol, _, address in _allowed(connection, guard.addresses, timeout)[:_MAX_ADDRESSES]:
        sock = socket.socket(family, kind, protocol)
        try:
            for option in connection.socket_options or ():
                sock.setsockopt(*option)
            sock.settimeout(guard.deadlines.cap(timeout))
            sock.connect(address)
        except OSError as error:
            sock.close()
            last = error
            continue
        return sock
    if isinstance(last, TimeoutError):
        raise ConnectTimeoutError(connection, "the server took too long") from last
    raise NewConnectionError(connection, str(last)) from last


def _allowed(connection: Any, addresses: AddressPolicy, timeout: float) -> list[Any]:
    """Return the entries of `getaddrinfo` for a connection's host that may be connected to; raise if none may."""
    host = connection._dns_host  # noqa: SLF001  the name as the URL has it; urllib3 offers no other way to it
    try:
        found = _resolve(host, connection.port, timeout)
    except TimeoutError as error:
        raise ConnectTimeoutError(connection, "the name server took too long") from error
    except OSError as error:
        raise NameResolutionError(connection.host, connection, socket.gaierror(*error.args)) from error
    allowed = [entry for entry in found if addresses.allows(connection.host, str(entry[4][0]))]
    if not allowed:
        raise DownloadError(
            Reason.BLOCKED_ADDRESS,
            f"{connection.host} is at {found[0][4][0]}, which is not a public address; to fetch from it anyway, "
            f"pass --allow-host {connection.host}",
        )
    return allowed


def _resolve(host: str, port: int, timeout: float) -> list[Any]:
    """Return what `getaddrinfo` finds; on a thread of its own, because it has no timeout."""
    answer: queue.SimpleQueue[list[Any] | BaseException] = queue.SimpleQueue()

    def resolve() -> None:
        try:
            answer.put(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except BaseException as error:  # noqa: BLE001  raised below, on the waiting thread
            answer.put(error)

    threading.Thread(target=resolve, name="resolve", daemon=True).start()
    try:
        found = answer.get(timeout=timeout)
    except queue.Empty:
        raise TimeoutError from None
    if isinstance(found, BaseException):
        raise found
    if not found:
        raise OSError(socket.EAI_NONAME, "no address")
    return found
