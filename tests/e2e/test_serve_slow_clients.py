"""`ingest serve` while clients hold more connections than it has descriptors, and reopen each that it closes."""

from __future__ import annotations

import os
import selectors
import socket
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import requests
from support.service import serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.service import Service
    from support.shop import Shop

SOAK = bool(os.environ.get("INGEST_SOAK"))
DESCRIPTORS = 220
TRIES, EVERY_S, PATIENCE_S, ENOUGH = 8, 5.0 if SOAK else 1.5, 4.0, 6
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n"
SLOW_BODY = (
    b"POST /v1/search HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
)


class Attack:
    """Connections that send a little and then nothing."""

    def __init__(self, address: str, count: int, content: bytes) -> None:
        parts = urlsplit(address)
        self._target = (str(parts.hostname), int(parts.port or 0))
        self._content = content
        self._selector = selectors.DefaultSelector()
        self._stop = threading.Event()
        self.opened = 0
        for _ in range(count):
            self._open()

    def _open(self) -> None:
        made = socket.socket()
        made.settimeout(0)
        made.connect_ex(self._target)
        self._selector.register(made, selectors.EVENT_WRITE)
        self.opened += 1

    def run(self) -> None:
        """Send to what is connected, and open again what was closed, until `end` is called."""
        while not self._stop.is_set():
            for key, ready in self._selector.select(0.1):
                one = key.fileobj
                assert isinstance(one, socket.socket)
                try:
                    if ready & selectors.EVENT_WRITE:
                        one.send(self._content)
                        self._selector.modify(one, selectors.EVENT_READ)
                    elif not one.recv(4096):
                        raise ConnectionResetError
                except OSError:
                    self._selector.unregister(one)
                    one.close()
                    self._open()

    def end(self) -> None:
        """Close all connections."""
        self._stop.set()

    def close(self) -> None:
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()


@contextmanager
def attacked(service: Service, count: int, content: bytes) -> Iterator[Attack]:
    """Attack the service while the block runs; the connections stay open until the service has ended."""
    attack = Attack(service.address, count, content)
    thread = threading.Thread(target=attack.run)
    thread.start()
    try:
        yield attack
    finally:
        attack.end()
        thread.join()


def answers(service: Service) -> list[float]:
    """Return how long each try that was answered took, in s; each has a connection of its own."""
    took = []
    for _ in range(TRIES):
        began = time.monotonic()
        with suppress(requests.RequestException):
            if requests.get(f"{service.address}healthz", timeout=PATIENCE_S).status_code == 200:
                took.append(time.monotonic() - began)
        time.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
    return took


def closed(service: Service) -> dict[str, float]:
    """Return how many connections the service says it closed, by reason."""
    lines = requests.get(f"{service.address}metrics", timeout=20).text.splitlines()
    name = "ingest_connections_closed_total{reason="
    found = (line.removeprefix(name).split() for line in lines if line.startswith(name))
    return {reason.strip('"}'): float(count) for reason, count in found}


@pytest.mark.parametrize(
    ("count", "content"),
    [
        pytest.param(260, HALF_A_HEAD, id="half a head"),
        pytest.param(260, SLOW_BODY, id="body", marks=pytest.mark.skipif(not SOAK, reason="40 s: INGEST_SOAK=1")),
        pytest.param(2000, HALF_A_HEAD, id="many", marks=pytest.mark.skipif(not SOAK, reason="40 s: INGEST_SOAK=1")),
    ],
)
def test_it_answers_while_others_hold_more_connections_than_it_may_open(shop: Shop, count: int, content: bytes) -> None:
    with serving(shop, descriptors=DESCRIPTORS) as service, attacked(service, count, content) as attack:
        took = answers(service)
        assert len([seconds for seconds in took if seconds < PATIENCE_S]) >= ENOUGH, took
        assert closed(service)["limit"] > 0
        assert attack.opened > count
        lines = service.log.read_text(encoding="utf-8").splitlines()
        assert [line for line in lines if "at most 120 may be open" in line] == lines[2:]
        assert len(lines) - 2 <= 1 + TRIES * max(EVERY_S, PATIENCE_S) / 60
        process = service.process
        began = time.monotonic()
        process.terminate()  # while half-sent requests are open
        assert process.wait(20) == 0
        assert time.monotonic() - began < 5
    attack.close()
