"""What passes is waited for, with a word; what does not is one clear error."""

from __future__ import annotations

import logging
import threading

import grpc
import pytest
from pymilvus.exceptions import MilvusException

from ingest.errors import InterruptedRunError, MilvusError
from ingest.sinks.milvus import connection as module
from ingest.sinks.milvus.connection import Connection


class Deadline(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self):
        return "Deadline Exceeded"


PASSING = [
    MilvusException(2, "service unavailable"),
    MilvusException(3, "quota exceeded[reason=memory quota exhausted, please allocate more resources]"),
    MilvusException(8, "quota exceeded[reason=rate type: DMLUpsert]"),
    MilvusException(9, "deny to write: quota exceeded"),
    MilvusException(101, "collection not loaded"),
    MilvusException(65535, "no available shard delegator found"),
    MilvusException(65535, "attempt #0: stack trace: a.go:1\n/b.go:2: attempt #0: node not match[expectedNodeID=1]"),
    MilvusException(1, "service not ready[standalone=1]: Initializing"),
    Deadline(),
]
LASTING = [
    (MilvusException(100, "collection not found[collection=x]"), "was it dropped while this ran"),
    (MilvusException(1601, "alias and collection name conflict"), "conflict"),
    (MilvusException(65535, "auth check failure, please check username and password"), "check MILVUS_TOKEN"),
    (MilvusException(1100, "the dim (8) of field data is not equal to schema dim (16)"), "dim"),
    (MilvusException(800, "database not found[database=shop]"), "check --db-name"),
]


@pytest.fixture
def stop():
    return threading.Event()


@pytest.fixture
def connection(monkeypatch, stop):
    monkeypatch.setattr(module, "_client_class", lambda: lambda **_: object())
    monkeypatch.setattr(module, "_FIRST_PAUSE_S", 0.001)
    return Connection("http://localhost:1", "root:secret", "", 2.0, stop)


def failing(error, times):
    calls = []

    def call():
        calls.append(1)
        if len(calls) <= times:
            raise error
        return len(calls)

    return call


@pytest.mark.parametrize("error", PASSING, ids=str)
def test_what_passes_is_tried_again_and_said_once(connection, error, caplog):
    with caplog.at_level(logging.WARNING, "ingest"):
        assert connection.call("upsert", failing(error, 5)) == 6
        assert connection.call("upsert", failing(error, 5)) == 6
    assert len(caplog.messages) == 1
    assert "waiting for Milvus at http://localhost:1 (upsert)" in caplog.messages[0]


@pytest.mark.parametrize(("error", "words"), LASTING, ids=str)
def test_what_does_not_pass_is_one_line_at_once(connection, error, words):
    call = failing(error, 1)
    with pytest.raises(MilvusError, match=words) as raised:
        connection.call("upsert", call)
    assert "\n" not in str(raised.value)
    assert call() == 2, "it was tried once"


def test_waiting_ends_after_max_wait_with_the_way_out(connection):
    connection._max_wait = 0.05
    with pytest.raises(MilvusError, match="denies writes"):
        connection.call("upsert", failing(PASSING[1], 10_000))


def test_waiting_ends_when_told_to_stop(connection, stop):
    stop.set()
    with pytest.raises(InterruptedRunError, match="what was embedded is stored"):
        connection.call("upsert", failing(PASSING[0], 10_000))


def test_no_secret_is_told(connection):
    with pytest.raises(MilvusError) as raised:
        connection.call("upsert", failing(MilvusException(65535, "user root:secret refused"), 1))
    assert "secret" not in str(raised.value)
