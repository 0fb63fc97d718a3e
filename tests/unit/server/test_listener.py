"""Clients that send or read slowly, or send what is dear to parse, against a real server on loopback."""

from __future__ import annotations

import logging
import resource
import socket
import threading
import time
from collections import Counter
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
import requests
import uvicorn
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from ingest.core.errors import ConfigError
from ingest.server import listener, open_connections
from ingest.server.http_protocol import MAX_HEADERS, MAX_SMALL_PIECES
from ingest.server.listener import MAX_CONNECTIONS, OWN_DESCRIPTORS, Server, connection_limit
from ingest.server.open_connections import LIMIT, OpenConnections, Wait

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.requests import Request

LARGE = 16_000_000  # bytes of an answer: more than the buffers of both sockets take
HEAD = b"GET /small HTTP/1.1\r\nHost: here\r\n"
DEADLINE_S = 0.4


async def small(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("small")


async def large(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("x" * LARGE)


async def echo(request: Request) -> PlainTextResponse:
    with suppress(ClientDisconnect):
        return PlainTextResponse(str(len(await request.body())))
    return PlainTextResponse("")


APP = Starlette(routes=[Route("/small", small), Route("/large", large), Route("/echo", echo, methods=["POST"])])


@dataclass
class Served:
    port: int
    open: OpenConnections
    closed: Counter[str]
    server: Server
    sockets: list[socket.socket] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def send(self, content: bytes, receive_bytes: int = 0) -> socket.socket:
        made = socket.socket()
        if receive_bytes:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        made.settimeout(20)
        made.connect(("127.0.0.1", self.port))
        made.sendall(content)
        self.sockets.append(made)
        return made


@pytest.fixture
def _short_deadlines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_connections, "DEADLINES_S", dict.fromkeys(open_connections.DEADLINES_S, DEADLINE_S))
    monkeypatch.setattr(listener, "_CHECK_INTERVAL_S", 0.05)


short_deadlines = pytest.mark.usefixtures("_short_deadlines")


@contextmanager
def serving(limit: int = 50) -> Iterator[Served]:
    closed: Counter[str] = Counter()
    connections = OpenConnections(limit, lambda reason: closed.update([reason]))
    with socket.create_server(("127.0.0.1", 0), backlog=listener.BACKLOG) as listening:
        config = uvicorn.Config(APP, loop="asyncio", http="h11", ws="none", log_config=None, access_log=False)
        served = Served(listening.getsockname()[1], connections, closed, Server(config, connections))
        thread = threading.Thread(target=served.server.run, args=([listening],))
        thread.start()
        try:
            yield served
        finally:
            served.server.should_exit = True
            thread.join(20)
            for one in served.sockets:
                one.close()
        assert not thread.is_alive()


def read_all(client: socket.socket) -> bytes:
    content = b""
    try:
        while part := client.recv(2**20):
            content += part
    except ConnectionResetError:
        pass
    return content


def read_until(client: socket.socket, end: bytes) -> bytes:
    content = b""
    while not content.endswith(end) and (part := client.recv(2**20)):
        content += part
    return content


def is_closed_after(client: socket.socket, drip: bytes = b"") -> float:
    """Return after how many seconds the service closes a connection to which a byte is sent every now and then."""
    began = time.monotonic()
    client.settimeout(0.05)
    while time.monotonic() - began < 10:
        try:
            if not client.recv(1):
                break
        except TimeoutError:
            pass
        except OSError:
            break
        try:
            client.sendall(drip)
        except OSError:
            break
    return time.monotonic() - began


@short_deadlines
@pytest.mark.parametrize(
    ("sent", "drip", "reason"),
    [
        (b"", b"", Wait.HEAD),
        (HEAD, b"", Wait.HEAD),
        (HEAD, b"a", Wait.HEAD),
        (HEAD + b"\r\n" + HEAD, b"a", Wait.HEAD),
        (b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n", b"a", Wait.BODY),
        (b"POST /small HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\n", b"a", Wait.BODY),
        (b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", Wait.BODY),
    ],
    ids=["silent", "half a head", "slow head", "slow second head", "slow body", "slow body of a refused request",
         "slow chunks"],
)  # fmt: skip
def test_a_client_that_sends_slowly_is_closed_at_the_deadline(sent: bytes, drip: bytes, reason: Wait) -> None:
    with serving() as served:
        took = is_closed_after(served.send(sent), drip)
        assert requests.get(f"{served.url}small", timeout=20).text == "small"
    assert DEADLINE_S - 0.1 < took < DEADLINE_S + 4
    assert served.closed == {reason.value: 1}


@short_deadlines
def test_a_client_that_does_not_read_its_answer_is_closed_at_the_deadline() -> None:
    with serving() as served:
        client = served.send(b"GET /large HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n", receive_bytes=4096)
        began = time.monotonic()
        while not served.closed and time.monotonic() - began < 20:
            time.sleep(0.01)
        assert len(read_all(client)) < LARGE
    assert served.closed == {Wait.ANSWER.value: 1}


def test_a_client_that_reads_a_large_answer_gets_it_all() -> None:
    with serving() as served, requests.Session() as session:
        for _ in range(2):
            assert len(session.get(f"{served.url}large", timeout=20).content) == LARGE
    assert served.closed == {}


@short_deadlines
def test_an_idle_connection_is_kept_for_the_next_request() -> None:
    with serving() as served:
        client = served.send(HEAD + b"\r\n")
        assert read_until(client, b"small")
        time.sleep(3 * DEADLINE_S)
        client.sendall(HEAD + b"\r\n")
        assert read_until(client, b"small")
    assert served.closed == {}


def test_pipelined_requests_are_answered_in_order() -> None:
    with serving() as served:
        client = served.send((HEAD + b"\r\n") * 200 + HEAD + b"Connection: close\r\n\r\n")
        assert read_all(client).count(b"\r\n\r\nsmall") == 201
    assert served.closed == {}


def test_more_connections_than_the_limit_close_the_oldest_unfinished_ones() -> None:
    with serving(limit=10) as served:
        clients = [served.send(HEAD) for _ in range(30)]
        assert requests.get(f"{served.url}small", timeout=20).text == "small"
        assert len(served.open) <= 10
        assert served.closed[LIMIT] + served.closed[Wait.HEAD.value] >= 20
        assert read_all(clients[0]) == b""


@pytest.mark.parametrize(
    "content",
    [
        HEAD + b"a: b\r\n" * MAX_HEADERS + b"\r\n",
        HEAD + b"a: b\r\n" * 20_000,
        HEAD + b"a: " + b"b" * 300_000 + b"\r\n\r\n",
        b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\n"
        + b"1\r\na\r\n" * (MAX_SMALL_PIECES + 1),
        b"POST /echo HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"POST /small HTTP/1.1\r\nHost: here\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    ],
    ids=["headers", "endless headers", "large header", "tiny chunks", "no chunk", "no chunk, unread", "TLS"],
)
def test_what_is_dear_or_not_http_is_refused_without_a_traceback(
    content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with serving() as served:
        client = served.send(b"")
        with suppress(OSError):
            client.sendall(content)
        said = read_all(client)
        assert said[:12] in (b"HTTP/1.1 400", b"")
        assert requests.get(f"{served.url}small", timeout=20).text == "small"
    assert [record for record in caplog.records if record.exc_info] == []


def test_many_headers_and_a_body_in_pieces_within_the_limits_are_accepted() -> None:
    with serving() as served:
        headers = {f"x-{number}": "a" for number in range(MAX_HEADERS - 20)}
        pieces = iter([b"x" * 20] * (2 * MAX_SMALL_PIECES))
        answer = requests.post(f"{served.url}echo", data=pieces, headers=headers, timeout=20)
        assert answer.text == str(40 * MAX_SMALL_PIECES)
        lines = requests.post(f"{served.url}echo", data=b"\n" * 1000, timeout=20)  # not lines of the head
        assert lines.text == "1000"


def test_an_upgrade_is_ignored_and_invalid_requests_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    with serving() as served, caplog.at_level(logging.WARNING):
        for _ in range(5):
            upgrade = {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
            assert requests.get(f"{served.url}small", headers=upgrade, timeout=20).text == "small"
            assert read_all(served.send(b"nonsense\r\n\r\n")).startswith(b"HTTP/1.1 400")
    assert set(Counter(caplog.messages).values()) == {1}


def test_the_shutdown_does_not_wait_for_unfinished_requests() -> None:
    with serving() as served:
        for _ in range(20):
            served.send(HEAD)
        served.send(b"POST /echo HTTP/1.1\r\nHost: here\r\nContent-Length: 9\r\n\r\n")
        served.send(b"GET /large HTTP/1.1\r\nHost: here\r\n\r\n", receive_bytes=4096)
        assert requests.get(f"{served.url}small", timeout=20).text == "small"
        began = time.monotonic()
    assert time.monotonic() - began < open_connections.SHUTDOWN_S + 3


def test_without_a_free_descriptor_it_neither_spins_nor_stays_deaf(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Counter[str]()
    accept = socket.socket.accept

    def fail(self: socket.socket) -> object:
        if refused["accept"] < 3:
            refused["accept"] += 1
            raise OSError(24, "Too many open files")
        return accept(self)

    monkeypatch.setattr(socket.socket, "accept", fail)
    with serving() as served, caplog.at_level(logging.WARNING):
        began = time.monotonic()
        assert requests.get(f"{served.url}small", timeout=20).text == "small"
        assert time.monotonic() - began > 0.5
    assert refused["accept"] == 3
    assert caplog.messages == ["cannot accept connections: Too many open files"]


@pytest.mark.parametrize(
    ("descriptors", "limit"),
    [(resource.RLIM_INFINITY, MAX_CONNECTIONS), (2**20, MAX_CONNECTIONS), (1024, 1024 - OWN_DESCRIPTORS), (220, 120)],
)
def test_the_limit_leaves_descriptors_for_other_things(
    descriptors: int, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (descriptors, descriptors))
    assert connection_limit() == limit


def test_a_process_that_may_open_too_few_files_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (110, 110))
    with pytest.raises(ConfigError, match="ulimit -n 1100"):
        connection_limit()
