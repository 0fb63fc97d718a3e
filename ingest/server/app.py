"""The service as an application and as a process: what is put around the routes, and its start and end."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from ingest.core import contract as contracts
from ingest.core.errors import ConfigError
from ingest.milvus.connection import connect
from ingest.search.query import QueryModel
from ingest.server import responses
from ingest.server.access import AccessGuard, AccessRules, is_loopback
from ingest.server.alias_watcher import AliasWatcher
from ingest.server.metrics import MetricsMiddleware
from ingest.server.routes import routes
from ingest.server.service import Service

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from ingest.core.settings import Settings

_PATIENCE_S = 5.0  # a request does not wait for a Milvus that is away as long as a run does
_LAST_ANSWERS_S = 10
# A proxy in front lets go of an idle connection first: nginx and AWS's load balancers, by default, after 60 s.
_IDLE_S = 75
_LOCAL = ("127.0.0.1", "localhost", "::1")


def access_rules(settings: Settings) -> AccessRules:
    """Return what is let in; raises ConfigError for an origin that is none."""
    return AccessRules(
        token=settings.serve_token,
        hosts=frozenset({*_LOCAL, settings.host}) if is_loopback(settings.host) else frozenset(),
        origins=frozenset(_origins(settings.allow_origin)),
        max_picture=settings.max_image_bytes,
    )


def application(service: Service, let_in: AccessRules) -> Starlette:
    """Return the service as an ASGI application."""
    middleware = [Middleware(MetricsMiddleware, metrics=service.metrics)]
    if let_in.origins:  # a browser asks whether it may, without a token: so this stands before the guard
        middleware.append(Middleware(
            CORSMiddleware, allow_origins=list(let_in.origins), allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        ))  # fmt: skip
    middleware.append(Middleware(AccessGuard, rules=let_in))

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with service.running():
            yield

    app = Starlette(
        routes=routes(service, let_in),
        middleware=middleware,
        exception_handlers={**dict.fromkeys(responses.HANDLED, responses.handler), Exception: responses.handler},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


def run(settings: Settings, started: Callable[[str], None]) -> None:
    """Serve until Ctrl-C or SIGTERM, and then finish what is being answered; `started` is told the address.

    Raises ConfigError where the address cannot be had or an origin is none, MilvusError where nothing is served, and
    ModelError where the model is not the collection's.
    """
    alias, let_in = contracts.load(settings.schema).alias, access_rules(settings)
    with ExitStack() as stack:
        listening = stack.enter_context(_listening(settings.host, settings.port))
        patience = min(settings.max_wait, _PATIENCE_S)
        connection = stack.enter_context(
            connect(settings.milvus_uri, settings.token, settings.db_name, patience, reading=True)
        )
        model = QueryModel(settings)
        service = Service(settings, connection, AliasWatcher(connection, alias, model.space), model)
        service.warm_up()
        config = uvicorn.Config(
            application(service, let_in), log_config=None, access_log=False, server_header=False,
            timeout_graceful_shutdown=_LAST_ANSWERS_S, timeout_keep_alive=_IDLE_S,
            h11_max_incomplete_event_size=2**16,
        )  # fmt: skip
        server = uvicorn.Server(config)
        host, port = listening.getsockname()[:2]
        with _stopping(server):
            started(f"http://{f'[{host}]' if ':' in host else host}:{port}/")
            server.run(sockets=[listening])


@contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        made = socket.create_server((host, port), family=family, backlog=1024)
        # asyncio does so for sockets that say they are TCP, which these do not: without it, an answer in two parts
        # waits 40 ms for the acknowledgement of the first.
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"--host {host} --port {port}: {reason}; pass another, or --port 0 for any") from error
    with made:
        yield made


@contextmanager
def _stopping(server: uvicorn.Server) -> Iterator[None]:
    """Have a signal stop the server, also before uvicorn listens to them, and when it raises them again at its end."""

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
