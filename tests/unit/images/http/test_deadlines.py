"""Sockets are shut down at their own deadline, and not at another's."""

from __future__ import annotations

import socket
import threading
import time

import pytest

from ingest.images.http.deadlines import Deadlines


@pytest.fixture
def deadlines():
    made = Deadlines()
    yield made
    made.close()


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        yield ours


def test_a_wait_ends_at_the_deadline_of_its_block(deadlines, pair):
    began = time.monotonic()
    with deadlines.until(began + 0.1):
        deadlines.watch(pair)
        assert pair.recv(1) == b""
    assert time.monotonic() - began < 2


def test_outside_of_a_block_nothing_is_watched(deadlines, pair):
    deadlines.watch(pair)
    assert deadlines.cap(7) == 7
    assert deadlines._sockets == {}


def test_a_connection_that_another_thread_took_over_keeps_its_watch(deadlines, pair):
    taken, go = threading.Event(), threading.Event()

    def other():
        with deadlines.until(time.monotonic() + 99):
            deadlines.watch(pair)
            taken.set()
            go.wait(10)

    thread = threading.Thread(target=other)
    with deadlines.until(time.monotonic() + 50):
        deadlines.watch(pair)
        thread.start()
        assert taken.wait(10)
    assert pair in deadlines._sockets
    go.set()
    thread.join()
    assert deadlines._sockets == {}
