"""A server for each way to misbehave, on a loopback address of its own, so that each is a host of its own."""

from __future__ import annotations

import gzip
import socket
import struct
import threading
import time
from contextlib import suppress
from email.utils import formatdate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    Behaviour = Callable[["Host", socket.socket, int], None]

LINGER = struct.pack("ii", 1, 0)


class Host:
    """Answers each request with its behaviour, which is given the connection and how many requests came before."""

    def __init__(self, number: int, behave: Behaviour, context: ssl.SSLContext | None = None) -> None:
        self.name = f"127.0.7.{number}"
        self.requests: list[bytes] = []
        self.behave = behave
        self.context = context
        self.stopping = threading.Event()
        self._socket = socket.create_server((self.name, 0), backlog=64)
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._listen, daemon=True).start()

    def url(self, path: str = "/a.jpg", scheme: str = "http") -> str:
        return f"{scheme}://{self.name}:{self.port}{path}"

    def stop(self) -> None:
        self.stopping.set()
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            if self.context is not None:
                connection = self.context.wrap_socket(connection, server_side=True)
            with connection:
                while request := _request(connection):
                    self.requests.append(request)
                    self.behave(self, connection, len(self.requests) - 1)


def _request(connection: socket.socket) -> bytes:
    request = b""
    while b"\r\n\r\n" not in request:
        part = connection.recv(65_536)
        if not part:
            return b""
        request += part
    return request


def answer(status: str, body: bytes = b"", *headers: str, length: int | None = None) -> Behaviour:
    """Answer with this, and keep the connection."""
    size = len(body) if length is None else length
    head = "\r\n".join([f"HTTP/1.1 {status}", *headers, f"Content-Length: {size}", "", ""])
    return raw(head.encode("latin-1") + body)


def raw(content: bytes) -> Behaviour:
    return lambda host, connection, number: connection.sendall(content)


def then_closed(behave: Behaviour) -> Behaviour:
    def close(host: Host, connection: socket.socket, number: int) -> None:
        behave(host, connection, number)
        connection.shutdown(socket.SHUT_RDWR)

    return close


def then_reset(behave: Behaviour) -> Behaviour:
    def reset(host: Host, connection: socket.socket, number: int) -> None:
        behave(host, connection, number)
        time.sleep(0.05)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER)
        connection.close()

    return reset


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Behave in a new way at each request, in the last one for good."""
    return lambda host, connection, number: behaviours[min(number, len(behaviours) - 1)](host, connection, number)


def silent(host: Host, connection: socket.socket, number: int) -> None:
    host.stopping.wait(30)


def then_silent(content: bytes) -> Behaviour:
    def stall(host: Host, connection: socket.socket, number: int) -> None:
        connection.sendall(content)
        silent(host, connection, number)

    return stall


def dripping(content: bytes, first: int = 0) -> Behaviour:
    """Send a byte now and then, after the `first` ones."""

    def drip(host: Host, connection: socket.socket, number: int) -> None:
        connection.sendall(content[:first])
        for byte in content[first:]:
            if host.stopping.wait(0.1):
                return
            connection.sendall(bytes([byte]))

    return drip


def repeating(head: bytes, body: bytes) -> Behaviour:
    """Send `body` until the client is gone."""

    def repeat(host: Host, connection: socket.socket, number: int) -> None:
        connection.sendall(head)
        while not host.stopping.is_set():
            connection.sendall(body)

    return repeat


def redirect(location: str) -> Behaviour:
    return answer("302 Found", b"", f"Location: {location}")


def bomb(start: bytes, megabytes: int) -> Behaviour:
    """Compress an image's beginning and so many MB of zeros to a thousandth of that."""
    return answer("200 OK", gzip.compress(start + bytes(megabytes * 10**6)), "Content-Encoding: gzip")


def in_an_hour() -> str:
    return formatdate(time.time() + 3600, usegmt=True)
