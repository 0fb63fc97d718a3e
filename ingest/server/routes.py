"""What can be asked, and what is answered."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from ingest.server import request_parsing
from ingest.server.access import may_ask
from ingest.server.openapi import document
from ingest.server.responses import BadRequestError, NotFoundError, error_response, finite
from ingest.server.thumbnails import SIDES

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.routing import BaseRoute

    from ingest.search.backend import Hit
    from ingest.server.access import AccessRules
    from ingest.server.service import Service

_PAGE = files("ingest.server") / "static"
_JSON = {"Cache-Control": "no-store"}
_DEFAULT_SIDE = 512


def routes(service: Service, rules: AccessRules) -> list[BaseRoute]:
    """Return every route of the service."""
    index = (_PAGE / "index.html").read_text(encoding="utf-8")
    if rules.token:  # the page asks for it before it asks for anything else
        index = index.replace("<html", "<html data-asks-token", 1)

    def route(path: str, endpoint: Callable[..., Awaitable[Response]], *methods: str) -> Route:
        async def answer(request: Request) -> Response:
            request.state.route = path
            return await endpoint(service, request)

        return Route(path, answer, methods=list(methods or ("GET",)))

    async def page(_service: Service, _request: Request) -> Response:
        return Response(index, media_type="text/html", headers={"Cache-Control": "no-cache"})

    product = "/v1/products/{product_id:path}"
    return [
        route("/", page),
        Mount("/page", StaticFiles(directory=str(_PAGE))),
        route("/healthz", _healthz),
        route("/readyz", partial(_readyz, rules)),
        route("/metrics", _metrics),
        route("/openapi.json", _openapi),
        route("/v1/search", _search, "POST"),
        route("/v1/embed", _embed, "POST"),
        route("/v1/contract", _contract),
        route("/v1/collection", _collection),
        route("/v1/collection/map", _map),
        route(f"{product}/similar", _similar),
        route(f"{product}/picture", _picture),
        route(product, _product),
    ]


async def _search(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, set())
    with service.gate.entered():
        async with service.received(request) as (content, picture):
            asked = request_parsing.search(content, with_picture=picture is not None)
            hits = await service.search(asked, picture.file if picture is not None else None)
    return _hits(hits)


async def _embed(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, set())
    with service.gate.entered():
        async with service.received(request) as (content, picture):
            text = request_parsing.embedding(content, with_picture=picture is not None)
            contract = service.live.checked().contract
            row = await (service.picture_row(picture.file) if picture is not None else service.text_row(text or ""))
    told = {name: contract[name] for name in ("alias", "model", "fingerprint", "dim", "ef")}
    return JSONResponse({"vector": row.tolist(), **told}, headers=_JSON)


async def _similar(service: Service, request: Request) -> Response:
    asked = request_parsing.similar(request.query_params)
    with service.gate.entered():
        return _hits(await service.similar(_id(request), asked))


async def _product(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, set())
    with service.gate.entered():
        product = await service.product(service.live.served, _id(request))
    fields = {name: finite(value) for name, value in product.metadata.items()}
    return JSONResponse({"product_id": product.product_id, "fields": fields}, headers=_JSON)


async def _picture(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, {"side"})
    side = request_parsing.whole(request.query_params, "side", _DEFAULT_SIDE)
    if not SIDES[0] <= side <= SIDES[1]:
        raise BadRequestError(f"side is a whole number from {SIDES[0]} to {SIDES[1]}")
    with service.gate.entered():
        content, tag = await service.jpeg(_id(request), side)
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/jpeg", headers=headers)


async def _contract(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, set())
    return JSONResponse({**service.live.served.contract, "collection": service.live.served.name}, headers=_JSON)


async def _collection(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, set())
    taken = await service.snapshot()
    return JSONResponse(
        {
            "collection": service.live.served.name,
            "rows": taken.rows,
            "pictures": taken.pictures,
            "facets": [
                {"name": facet.name, "type": facet.type, "low": facet.low, "high": facet.high, "missing": facet.missing,
                 "values": [{"value": value, "rows": rows} for value, rows in facet.values]}
                for facet in taken.facets
            ],
            "sharing": taken.sharing,
            "shared": [asdict(shared) for shared in taken.shared],
            "latest_run": asdict(run) if (run := await service.latest_run()) else None,
        },
        headers=_JSON,
    )  # fmt: skip


async def _map(service: Service, request: Request) -> Response:
    request_parsing.only(request.query_params, set())
    plane = (await service.snapshot()).plane
    fields = {name: [finite(value) for value in column] for name, column in plane.fields.items()}
    return JSONResponse({**asdict(plane), "fields": fields}, headers=_JSON)


async def _healthz(_service: Service, _request: Request) -> Response:
    return JSONResponse({"status": "alive"}, headers=_JSON)


async def _readyz(rules: AccessRules, service: Service, request: Request) -> Response:
    """Say why not to those who may ask: a reason names machines and models."""
    if not (fault := service.live.fault):
        return JSONResponse({"status": "ready"}, headers=_JSON)
    return error_response(503, fault if may_ask(rules, request.headers) else "not ready", _JSON)


async def _metrics(service: Service, _request: Request) -> Response:
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


async def _openapi(service: Service, _request: Request) -> Response:
    return JSONResponse(document(with_token=bool(service.settings.serve_token)), headers={"Cache-Control": "no-cache"})


def _id(request: Request) -> str:
    product_id: str = request.path_params["product_id"]
    if not 1 <= len(product_id) <= request_parsing.MAX_ID or any(character < " " for character in product_id):
        raise NotFoundError("no product has such an id")
    return product_id


def _hits(hits: list[Hit]) -> Response:
    """Fields of a hit stand apart from its score, so that no column of a catalog can hide it."""
    rows: list[dict[str, Any]] = [
        {"product_id": hit.product_id, "score": round(hit.score, 6),
         "fields": {name: finite(value) for name, value in hit.metadata.items()}}
        for hit in hits
    ]  # fmt: skip
    return JSONResponse({"hits": rows}, headers=_JSON)
