"""Fixtures: a stand-in server of each version.

def test_it(server, tmp_path):                  # runs five times, once for each version
    server.uri                                  # http://127.0.0.1:…
    server.dialect.since(2, 5)
    server.requests("Upsert", "Delete")         # .method, .in_body, .in_metadata, .user, .message; oldest first
    server.forget()                             # forget them
    server.collections("default")               # names; server.collection(name or alias).rows by id
    server.fail("Upsert", 8, "rate limit exceeded", times=2)
    event = server.hold("Upsert")               # the next one waits for event.set(); done_first: after its work

@pytest.mark.parametrize("dialect", ["2.6.16"], indirect=True)      # one version only
"""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from pymilvus.client import grpc_handler

from milvus_versions.standin.dialect import VERSIONS
from milvus_versions.standin.server import Server, serve

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten pymilvus' naps: it sleeps for half a second before it asks whether an index is built."""
    naps = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: time.sleep(min(seconds, 0.02))})
    monkeypatch.setattr(grpc_handler, "time", naps)


@pytest.fixture(params=VERSIONS)
def dialect(request: pytest.FixtureRequest) -> str:
    """Return a version; a test with it runs once for each."""
    return str(request.param)


@pytest.fixture
def server(dialect: str) -> Iterator[Server]:
    """Start a stand-in of that version for one test."""
    with serve(dialect) as stand_in:
        yield stand_in
