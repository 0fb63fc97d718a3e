"""Errors that are reported before Ray starts, or instead of waiting for what is no cluster."""

from __future__ import annotations

import socket
import sys
import threading
import time

import pytest

from ingest.core.errors import EngineError
from ingest.core.settings import Settings
from ingest.pipeline.distributed import cluster
from ingest.pipeline.distributed.cluster import connect


def test_without_ray_one_line_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(EngineError, match=r"Ray is not installed .*pip install 'ingest\[ray\]'"), connect("local"):
        pass


@pytest.mark.parametrize("scheme", ["", "ray://"])
def test_an_address_where_nobody_listens_is_said_at_once(scheme):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    begun = time.monotonic()
    with pytest.raises(EngineError, match=rf"--address {scheme}127\.0\.0\.1:{port}: .*\(Connection refused\)"):
        cluster._reach(f"{scheme}127.0.0.1:{port}")
    assert time.monotonic() - begun < 5


def test_what_listens_and_is_no_cluster_is_given_up(monkeypatch):
    monkeypatch.setattr(cluster, "_ANSWERED_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(EngineError, match=r"no Ray cluster has answered within 0\.5 s"):
            cluster._reach(address)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("rpc: Unauthenticated\nConnectionError: Failed to connect", "it asks for a token: set RAY_AUTH_MODE=token"),
        ("lines\nRuntimeError: Version mismatch: The cluster was started with:\n", "Version mismatch"),
        ("", "it is not a Ray cluster of this version"),
        (
            'File "/home/author/authentication/x.py"\nConnectionError: Failed to connect to it',
            "Failed to connect to it",
        ),
    ],
)
def test_the_reason_is_in_what_ray_said(said, why, monkeypatch):
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    assert cluster._reason(said).startswith(why)


def test_who_stops_waiting_for_the_cluster_to_grow_gets_no_error(monkeypatch):
    stop = threading.Event()
    monkeypatch.setattr(cluster, "_nodes", list)
    monkeypatch.setattr(cluster, "_request", lambda _: stop.set())
    assert cluster.wait_for_room(Settings(actors="4", cluster_wait=60.0), stop) is None
