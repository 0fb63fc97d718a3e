"""An S3 server on loopback, and a proxy before it that fails as it is told."""

from __future__ import annotations

import http.client
import threading
import time
from collections import deque
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from moto.s3.models import s3_backends
from moto.server import ThreadedMotoServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BUCKET = "vectors"
SLOW_S = 0.3
ERRORS = {"403": "AccessDenied", "500": "InternalError", "503": "SlowDown"}
"""S3's codes of the statuses that the proxy answers with."""

Answer = tuple[int, bytes, dict[str, str]]
"""A status, a content and headers."""


class Storage:
    """The proxy's address; `faults` is what happens to the next requests: "ok", "cut", "slow", or one of ERRORS.

    Faults wait for requests of `method` whose path has `part` in it. `watch` is called with each request before the
    server gets it, and with True when the server has done it; if it returns True, whoever asked gets no answer.
    """

    def __init__(self, backend: str) -> None:
        self.backend = urlsplit(backend)
        self.faults: deque[str] = deque()
        self.method = "GET"
        self.part = ""
        self.requests: list[str] = []
        self.url = ""
        self.watch: Callable[[str, bool], bool] = lambda _request, _served: False

    def fail(self, *faults: str, method: str = "GET", part: str = "") -> None:
        self.method, self.part = method, part
        self.faults.extend(faults)

    def next_fault(self, method: str, path: str) -> str:
        self.requests.append(f"{method} {path}")
        due = self.faults and method == self.method and self.part in path
        fault = self.faults.popleft() if due else "ok"
        if fault == "slow":
            time.sleep(SLOW_S)
        return fault

    def ask(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer | None:
        """Return the server's answer to a request, None if `watch` holds it back."""
        if self.watch(f"{method} {path}", False):  # noqa: FBT003
            return None
        backend = http.client.HTTPConnection(self.backend.hostname, self.backend.port)
        try:
            backend.request(method, path, body, {k: v for k, v in headers.items() if k.lower() != "expect"})
            found = backend.getresponse()
            answer = found.status, found.read(), dict(found.getheaders())
        finally:
            backend.close()
        return None if self.watch(f"{method} {path}", True) else answer  # noqa: FBT003

    def age(self, folder: str, seconds: float) -> None:
        """Make all objects below a folder of the bucket older, as if the server's clock had gone on."""
        for bucket in s3_backends["123456789012"]["aws"].buckets.values():
            for key in bucket.keys.values():
                if key.name.startswith(f"{folder}/"):
                    key.last_modified -= timedelta(seconds=seconds)


@contextmanager
def serving(storage: Storage) -> Iterator[None]:
    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = storage.next_fault(self.command, self.path)
            if code := ERRORS.get(fault):
                self.answer(int(fault), f"<Error><Code>{code}</Code></Error>".encode(), {})
                return
            answer = storage.ask(self.command, self.path, body, dict(self.headers))
            if answer is None:
                self.close_connection = True
            else:
                self.answer(*answer, cut=fault == "cut")

        def answer(self, status: int, content: bytes, headers: dict[str, str], *, cut: bool = False) -> None:
            self.send_response(status)
            left_out = {"transfer-encoding", "connection", "date", "server", "content-length"}
            for name, value in headers.items():
                if name.lower() not in left_out:
                    self.send_header(name, value)
            length = headers.get("Content-Length") if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", length or "0")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content[: len(content) // 2] if cut else content)
            if cut:
                self.close_connection = True
                self.connection.close()

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = handle_any  # noqa: N815  http.server's names

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    storage.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def object_storage() -> Iterator[Storage]:
    """Serve an empty bucket, and have the environment point to it."""
    import boto3

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    storage = Storage(f"http://{host}:{port}")
    try:
        with pytest.MonkeyPatch.context() as patch, serving(storage):
            patch.setenv("AWS_ACCESS_KEY_ID", "test")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "test")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            patch.setenv("AWS_ENDPOINT_URL", storage.url)
            client = boto3.client("s3")
            client.create_bucket(Bucket=BUCKET)
            client.close()
            yield storage
    finally:
        server.stop()
