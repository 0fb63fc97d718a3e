"""A real HTTP server on loopback, whose answers a test scripts path by path."""

from __future__ import annotations

import sys
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. `length` is what Content-Length says: None for the truth, -1 for no such header.

    `endless` repeats the body until the client is gone; `hangs` sends nothing more after it and keeps the
    connection open until the server stops.
    """

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    length: int | None = None
    endless: bool = False
    hangs: bool = False
    chunked: bool = False


class Server:
    """Answers each path with its script's answers in turn, the last one for good; 404 for all other paths."""

    def __init__(self) -> None:
        self.scripts: dict[str, list[Answer]] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.connections = 0
        self.stopping = threading.Event()
        outer = self

        class Handler(_Handler):
            server_of_test = outer

        self._http = _Listener(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}{path}"

    def serve(self, path: str, *answers: Answer) -> str:
        """Script `path` and return its URL."""
        self.scripts[path.partition("?")[0]] = list(answers)
        return self.url(path)

    def asked(self, path: str) -> int:
        return sum(1 for got, _ in self.requests if got.partition("?")[0] == path)

    def stop(self) -> None:
        self.stopping.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # with the default, 5, a burst of clients waits a second for its second SYN

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a client that was killed."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_of_test: ClassVar[Server]

    def setup(self) -> None:
        super().setup()
        self.server_of_test.connections += 1

    def do_GET(self) -> None:
        test = self.server_of_test
        test.requests.append((self.path, dict(self.headers)))
        script = test.scripts.get(self.path.partition("?")[0], [Answer(status=404)])
        answer = script.pop(0) if len(script) > 1 else script[0]
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif answer.length is None and not answer.endless:
            self.send_header("Content-Length", str(len(answer.body)))
        elif answer.length is not None and answer.length >= 0:
            self.send_header("Content-Length", str(answer.length))
        self.end_headers()
        with suppress(OSError):  # the client may go at any time
            self._send(answer)
        honest = answer.length is None and not answer.endless and not answer.chunked
        self.close_connection = not honest or answer.hangs

    def _send(self, answer: Answer) -> None:
        for part in self._parts(answer):
            self.wfile.write(part)
        if answer.hangs:
            self.server_of_test.stopping.wait()

    def _parts(self, answer: Answer) -> Iterable[bytes]:
        yield b"%x\r\n%s\r\n" % (len(answer.body) * 2, answer.body) if answer.chunked else answer.body
        while answer.endless and not self.server_of_test.stopping.is_set():
            yield answer.body

    def log_message(self, *_: object) -> None:
        """Stay quiet."""
