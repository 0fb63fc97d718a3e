"""Cheap HTTP on loopback for the servers of the benchmarks: one thread a connection, no headers read but the path."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeAlias

HEAD = "HTTP/1.1 200 OK\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n"

Answer: TypeAlias = Callable[[str, socket.socket], None]


def serve(answer: Answer) -> None:
    """Print the port, and call `answer` with each request's path and its connection, until stdin ends.

    So a starter that is killed leaves no server behind.
    """
    listening = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=_accept, args=(listening, answer), daemon=True).start()
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()


def _accept(listening: socket.socket, answer: Answer) -> None:
    while True:
        connection, _ = listening.accept()
        threading.Thread(target=_talk, args=(connection, answer), daemon=True).start()


def _talk(connection: socket.socket, answer: Answer) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    waiting = b""
    with connection, suppress(OSError):
        while part := connection.recv(65_536):
            waiting += part
            while b"\r\n\r\n" in waiting:
                request, _, waiting = waiting.partition(b"\r\n\r\n")
                answer(request.split(b" ", 2)[1].decode(), connection)
