"""Requests are counted by the pattern of their route, because ids would make endless labels."""

from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from ingest.server.metrics import Metrics, MetricsMiddleware


def test_an_answer_is_counted_once_by_route_method_and_status() -> None:
    metrics = Metrics()
    metrics.watch(lambda: 3, lambda: 1)
    metrics.batch("text")(5)

    async def app(scope, _receive, send) -> None:
        scope["state"] = {"route": "/v1/products/{product_id:path}"}
        await send({"type": "http.response.start", "status": 404, "headers": []})

    async def send(_message) -> None:
        pass

    for method in ("GET", "GET", "BREW"):
        asyncio.run(MetricsMiddleware(app, metrics)({"type": "http", "method": method}, None, send))
    samples = {
        (sample.name, *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(metrics.text().decode())
        for sample in family.samples
    }
    route = "/v1/products/{product_id:path}"
    assert samples[("ingest_requests_total", *sorted((route, "404", "GET")))] == 2
    assert samples[("ingest_requests_total", *sorted((route, "404", "other")))] == 1
    assert samples["ingest_requests_inside",] == 3
    assert samples["ingest_ready",] == 1
    assert samples["ingest_batch_size_sum", "text"] == 5
