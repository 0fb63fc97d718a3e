"""Prometheus metrics: requests by route and status, their duration, batch sizes, readiness."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class Metrics:
    """The metrics of one service, in their own registry: two services in one process do not mix."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "ingest_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self.seconds = Histogram(
            "ingest_request_seconds", "Time from the start of a request to the end of its answer.", ("route",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._batches = Histogram(
            "ingest_batch_size",
            "Queries embedded in one call.",
            ("kind",),
            buckets=_SIZES,
            registry=self._registry,
        )
        self.milvus_seconds = Histogram(
            "ingest_milvus_seconds", "Searches in the collection.", buckets=_SECONDS, registry=self._registry
        )
        self._inside = Gauge("ingest_requests_inside", "Requests in progress.", registry=self._registry)
        self._closed = Counter(
            "ingest_connections_closed",
            "Connections closed early: no head or body in time, an answer not received, or room made for others.",
            ("reason",),
            registry=self._registry,
        )
        self._connections = Gauge("ingest_connections", "Open connections.", registry=self._registry)
        self._ready = Gauge("ingest_ready", "1 if the service can answer searches.", registry=self._registry)

    def batch(self, kind: str) -> Callable[[int], object]:
        """Return the function to call with the size of each batch of this kind."""
        return self._batches.labels(kind).observe

    def count_closed_connection(self, reason: str) -> None:
        """Count a connection that the service closed early."""
        self._closed.labels(reason).inc()

    def watch_connections(self, count: Callable[[], float]) -> None:
        """Set the function that counts open connections when metrics are requested."""
        self._connections.set_function(count)

    def watch(self, inside: Callable[[], float], ready: Callable[[], float]) -> None:
        """Set the functions that the two gauges read when metrics are requested."""
        self._inside.set_function(inside)
        self._ready.set_function(ready)

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class MetricsMiddleware:
    """ASGI middleware that counts and times answers by the pattern of their route: ids would make endless labels."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and count it by its status."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def send_and_note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        finally:
            route = scope.get("state", {}).get("route", "other")
            method = scope["method"] if scope["method"] in ("GET", "HEAD", "POST", "OPTIONS") else "other"
            self._metrics.requests.labels(route, method, str(status)).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)
