"""The service as an application and as a process: middleware around the routes, start and end."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ingest.core import contract_file
from ingest.core.errors import ConfigError
from ingest.milvus.connection import connect
from ingest.search.query import QueryModel
from ingest.server import responses
from ingest.server.access import AccessGuard, AccessRules, check_token, is_loopback
from ingest.server.alias_watcher import AliasWatcher
from ingest.server.json_answers import JsonEscapeMiddleware
from ingest.server.listener import BACKLOG, Server, connection_limit
from ingest.server.metrics import MetricsMiddleware
from ingest.server.open_connections import OpenConnections
from ingest.server.paths import SegmentedPaths
from ingest.server.routes import add_routes
from ingest.server.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ingest.core.settings import Settings

_MAX_WAIT_S = 5.0  # a request does not wait for an unavailable Milvus as long as a run does
_SHUTDOWN_S = 10
# Longer than a proxy in front keeps an idle connection: 60 s by default for nginx and AWS's load balancers.
_KEEP_ALIVE_S = 75
_LOCAL = ("127.0.0.1", "localhost", "::1")
# By default FastAPI records requests if OpenTelemetry is set up, and an environment variable makes it set that up.
_NO_TELEMETRY = TelemetryConfig(tracing=False, metrics=False, logs=False, operation_spans=False, auto_configure=False)


def access_rules(settings: Settings) -> AccessRules:
    """Return who may send requests; raises ConfigError for an invalid origin, or a token that cannot be sent."""
    check_token(settings.serve_token)
    return AccessRules(
        token=settings.serve_token,
        hosts=frozenset({*_LOCAL, settings.host}) if is_loopback(settings.host) else frozenset(),
        origins=frozenset(_origins(settings.allow_origin)),
        max_image_bytes=settings.max_image_bytes,
    )


def application(service: Service, rules: AccessRules) -> FastAPI:
    """Return the service as an ASGI application."""
    middleware = [
        Middleware(SegmentedPaths),
        Middleware(MetricsMiddleware, metrics=service.metrics),
        Middleware(JsonEscapeMiddleware),
    ]
    if rules.origins:  # before the guard: a browser's preflight request carries no token
        middleware.append(Middleware(
            CORSMiddleware, allow_origins=list(rules.origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        ))  # fmt: skip
    middleware.append(Middleware(AccessGuard, rules=rules))

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        async with service.run():
            yield

    app = FastAPI(
        title="ingest",
        summary="Find products by image or text.",
        version=version("ingest"),
        openapi_url=None,  # served by routes.py; without it there are no documentation pages, which load from a CDN
        middleware=middleware,
        lifespan=lifespan,
        redirect_slashes=False,
        separate_input_output_schemas=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry=_NO_TELEMETRY,
    )
    for kind in (*responses.HANDLED, Exception):
        app.add_exception_handler(kind, responses.handle_error)
    add_routes(app, service, rules)
    return app


def run(settings: Settings, started: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, then finish the requests in progress. `started` is called with the address.

    Raises ConfigError if the address cannot be used or an origin is invalid, MilvusError if the alias does not exist,
    and ModelError if the model does not match the collection.
    """
    alias, rules = contract_file.load(settings.schema).alias, access_rules(settings)
    limit = connection_limit()
    with ExitStack() as stack:
        listening = stack.enter_context(_listen(settings.host, settings.port))
        milvus = replace(settings.milvus, max_wait=min(settings.max_wait, _MAX_WAIT_S))
        connection = stack.enter_context(connect(milvus, reading=True))
        model = QueryModel(settings)
        service = Service(settings, connection, AliasWatcher(connection, alias, model.space), model)
        service.warm_up()
        connections = OpenConnections(limit, service.metrics.count_closed_connection)
        service.metrics.watch_connections(lambda: len(connections))
        # nothing depends on which other packages are installed (uvloop, httptools, wsproto) or on FORWARDED_ALLOW_IPS
        config = uvicorn.Config(
            application(service, rules), loop="asyncio", http="h11", ws="none", lifespan="on", proxy_headers=False,
            log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=_SHUTDOWN_S, timeout_keep_alive=_KEEP_ALIVE_S,
        )  # fmt: skip
        server = Server(config, connections)
        host, port = listening.getsockname()[:2]
        with _stop_on_signal(server):
            started(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
            server.run(sockets=[listening])


@contextmanager
def _listen(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=BACKLOG)
        # asyncio sets it only on sockets whose protocol is TCP, and this one's is 0. Without it, an answer in two
        # parts waits 40 ms for the acknowledgement of the first.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"--host {host} --port {port}: {reason}; pass another, or --port 0 for any") from error
    with made:
        yield made


@contextmanager
def _stop_on_signal(server: uvicorn.Server) -> Iterator[None]:
    """Stop the server on a signal, also before uvicorn handles signals and when it raises them again at its end."""

    def stop(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _origins(text: str) -> list[str]:
    found = [word.strip().rstrip("/") for word in text.split(",") if word.strip()]
    for origin in found:
        parts = urlsplit(origin)
        if parts.scheme not in ("http", "https") or f"{parts.scheme}://{parts.netloc}" != origin or not parts.netloc:
            raise ConfigError(f"--allow-origin {origin}: write it as a browser sends it, https://shop.example:8443")
    return found
