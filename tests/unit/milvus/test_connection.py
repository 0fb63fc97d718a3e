"""Transient failures are retried, with a log line; others are one clear error."""

from __future__ import annotations

import logging
import threading

import grpc
import pytest
from pymilvus.exceptions import MilvusException

from ingest.core.errors import InterruptedRunError, MilvusError
from ingest.milvus import connection as module
from ingest.milvus.connection import Connection


class Deadline(grpc.RpcError):
    def code(self):
        return grpc.StatusCode.DEADLINE_EXCEEDED

    def details(self):
        return "Deadline Exceeded"


TRANSIENT = [
    MilvusException(2, "service unavailable"),
    MilvusException(3, "quota exceeded[reason=memory quota exhausted, please allocate more resources]"),
    MilvusException(8, "quota exceeded[reason=rate type: DMLUpsert]"),
    MilvusException(9, "deny to write: quota exceeded"),
    MilvusException(101, "collection not loaded"),
    MilvusException(65535, "no available shard delegator found"),
    MilvusException(9999, "what only a newer server knows", retriable=True),
    MilvusException(65535, "attempt #0: stack trace: a.go:1\n/b.go:2: attempt #0: node not match[expectedNodeID=1]"),
    MilvusException(1, "service not ready[standalone=1]: Initializing"),
    MilvusException(grpc.StatusCode.UNAVAILABLE, "[describe_collection] Retry timeout: 20s, StatusCode.UNAVAILABLE"),
    Deadline(),
]
TRANSIENT += [MilvusException(code, f"of code {code}") for code in (12, 110, 202, 305, 505, 507, 604, 605, 2200, 2317)]
PERMANENT = [
    (MilvusException(100, "collection not found[collection=x]"), "was it dropped during this run"),
    (MilvusException(0, "can't find collection[database=default][collection=x]", 4), "was it dropped during this run"),
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


@pytest.mark.parametrize("error", TRANSIENT, ids=str)
def test_a_transient_error_is_retried_and_logged_once(connection, error, caplog):
    with caplog.at_level(logging.WARNING, "ingest"):
        assert connection.call("upsert", failing(error, 5)) == 6
        assert connection.call("upsert", failing(error, 5)) == 6
    assert len(caplog.messages) == 1
    assert "waiting for Milvus at http://localhost:1 (upsert)" in caplog.messages[0]


@pytest.mark.parametrize(("error", "words"), PERMANENT, ids=str)
def test_a_permanent_error_is_one_line_at_once(connection, error, words):
    call = failing(error, 1)
    with pytest.raises(MilvusError, match=words) as raised:
        connection.call("upsert", call)
    assert "\n" not in str(raised.value)
    assert call() == 2, "it was tried once"


def test_waiting_ends_after_max_wait_with_advice(connection):
    connection._max_wait = 0.05
    with pytest.raises(MilvusError, match="denies writes"):
        connection.call("upsert", failing(TRANSIENT[1], 10_000))


def test_waiting_ends_when_it_is_stopped(connection, stop):
    stop.set()
    with pytest.raises(InterruptedRunError, match="what was embedded is stored"):
        connection.call("upsert", failing(TRANSIENT[0], 10_000))


def test_no_secret_is_in_an_error(connection):
    with pytest.raises(MilvusError) as raised:
        connection.call("upsert", failing(MilvusException(65535, "user root:secret refused"), 1))
    assert "secret" not in str(raised.value)


class Client:
    """Stands in for pymilvus' client; records the timeouts of its calls, and fails so many times."""

    def __init__(self, fails, lives):
        self.timeouts, self._fails, self._lives = [], fails, lives

    def load_collection(self, name, timeout):
        self.timeouts.append(timeout)
        if len(self.timeouts) <= self._fails:
            raise Deadline
        return name

    def list_collections(self, timeout):
        assert timeout
        if not self._lives:
            raise Deadline


def test_every_call_of_the_client_has_a_timeout_and_a_silent_server_is_given_up(connection):
    connection.client = Client(fails=1000, lives=False)
    connection._max_wait = 0.05
    with pytest.raises(MilvusError, match="does not answer"):
        connection.call("load the collection", connection.client.load_collection, "x")
    assert set(connection.client.timeouts) == {module._MIN_TRY_S}


def test_a_long_job_is_waited_for_as_long_as_the_server_answers(connection, caplog):
    connection.client = Client(fails=5, lives=True)
    connection._max_wait = 0
    with caplog.at_level(logging.WARNING, "ingest"):
        assert connection.call("load the collection", connection.client.load_collection, "x", timeout=600) == "x"
    assert len(connection.client.timeouts) == 6
    assert "is still working (load the collection)" in caplog.messages[0]


class Refused(grpc.RpcError):
    def __init__(self, status, details):
        self._status, self._details = status, details

    def code(self):
        return self._status

    def details(self):
        return self._details


NO_WAY = "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: "
REFUSED = [
    ("http", grpc.StatusCode.UNAUTHENTICATED, "auth check failure", "auth check failure; set MILVUS_TOKEN"),
    ("http", grpc.StatusCode.UNAVAILABLE, f"{NO_WAY}Socket closed", "Socket closed; does it speak TLS"),
    ("https", grpc.StatusCode.UNAVAILABLE, f"{NO_WAY}Tls: WRONG_VERSION_NUMBER: x", "does not speak TLS"),
    ("https", grpc.StatusCode.UNAVAILABLE, f"{NO_WAY}CERTIFICATE_VERIFY_FAILED: expired: OK", r"trusted \(expired\)"),
    ("https", grpc.StatusCode.UNAVAILABLE, f"{NO_WAY}Hostname Verification Check failed.", "for another name"),
    ("http", grpc.StatusCode.UNAVAILABLE, "errors resolving nowhere:1", "check the name in --uri"),
    ("http", grpc.StatusCode.UNAVAILABLE, f"{NO_WAY}Connection refused", "connect: Connection refused; is it running"),
]


@pytest.mark.parametrize(("scheme", "status", "details", "message"), REFUSED)
def test_a_refused_connection_says_why_and_what_to_do_at_once(monkeypatch, scheme, status, details, message):
    def refuse(**_):
        raise MilvusException(2, "Fail connecting to server") from Refused(status, details)

    monkeypatch.setattr(module, "_client_class", lambda: refuse)
    with pytest.raises(MilvusError, match=message) as raised:
        Connection(f"{scheme}://localhost:1", "root:secret", "", 600.0)
    assert "\n" not in str(raised.value)
