"""The routes of the service."""

from importlib.resources import files
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from fastapi.security import HTTPBearer
from pydantic import BeforeValidator
from starlette.staticfiles import StaticFiles

from ingest.server import paths, schemas
from ingest.server.access import AccessRules, has_token
from ingest.server.openapi import document, failures, request_body
from ingest.server.request_parsing import check_query
from ingest.server.responses import BadRequestError, error_response
from ingest.server.service import Found, Service

_PAGE = files("ingest.server") / "static"
_NO_STORE = {"Cache-Control": "no-store"}
_JPEG = {"content": {"image/jpeg": {"schema": schemas.IMAGE_SCHEMA}}, "description": "A JPEG."}
_METRICS = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus' text format."}


async def _find_service(request: Request, response: Response) -> Service:
    request.state.route = request.scope["route"].path  # for metrics: only requests that reach an endpoint have one
    response.headers.update(_NO_STORE)
    service: Service = request.app.state.service
    return service


async def _check_query(request: Request) -> None:
    check_query(request)


CurrentService = Annotated[Service, Depends(_find_service)]
NoParameters = Annotated[schemas.NoParameters, Query()]
ProductId = Annotated[
    str,
    Path(
        min_length=1, max_length=schemas.MAX_ID, pattern=r"^[^\x00-\x1f]*$",
        description="With %2F for a slash in it. The ids . and .. need the routes that take product_id as a parameter.",
    ),
    BeforeValidator(paths.decode),
]  # fmt: skip

probes = APIRouter(responses=failures(413, 421))
api = APIRouter(dependencies=[Depends(_check_query)], responses=failures(400, 403, 413, 421))


def add_routes(app: FastAPI, service: Service, rules: AccessRules) -> None:
    """Add every route of the service; the token, if there is one, is checked before any route sees the request."""
    index = (_PAGE / "index.html").read_text(encoding="utf-8")
    if rules.token:  # the page asks for it before it asks for anything else
        index = index.replace("<html", "<html data-asks-token", 1)
    app.state.service, app.state.rules, app.state.index = service, rules, index
    app.mount("/page", StaticFiles(directory=str(_PAGE)))
    app.include_router(probes)
    if rules.token:
        token = Depends(HTTPBearer(scheme_name="token", auto_error=False))
        app.include_router(api, dependencies=[token], responses=failures(401))
    else:
        app.include_router(api)


@api.post(
    "/v1/search",
    openapi_extra=request_body(schemas.SearchWithoutImage, schemas.SearchForm),
    responses=failures(404, 408, 409, 415, 503),
    response_description="The nearest products, best first.",
)
async def search(service: CurrentService, request: Request, _parameters: NoParameters) -> schemas.Hits:
    """Find products by text, image, product, or any combination of them."""
    with service.gate.enter():
        async with service.read_request(request, schemas.SearchQuery) as (query, image):
            if not (query.text or query.product_id or image):
                raise BadRequestError("nothing to look for; give a text, a product_id, or an image in a form")
            return _hits(await service.search(query, image.file if image else None))


@api.post(
    "/v1/embed",
    openapi_extra=request_body(schemas.EmbedQuery, schemas.EmbedForm),
    responses=failures(408, 409, 415, 503),
    response_description="The vector, and its embedding space.",
)
async def embed(service: CurrentService, request: Request, _parameters: NoParameters) -> schemas.Vector:
    """Embed a text or an image, to query Milvus with."""
    with service.gate.enter():
        async with service.read_request(request, schemas.EmbedQuery) as (query, image):
            if bool(query.text) == bool(image):
                raise BadRequestError("give either a text (JSON) or an image (a form)")
            served = service.live.matching_collection()
            row = await (service.embed_image(image.file) if image else service.embed_text(query.text))
    space = {name: served.contract[name] for name in ("alias", "model", "fingerprint", "dim", "ef")}
    return schemas.Vector(vector=row.tolist(), **space)


@api.get("/v1/contract", response_model=schemas.Contract, response_description="The contract.")
async def contract(service: CurrentService, _parameters: NoParameters) -> Response:
    """Describe the collection: model, fields, and how to search it."""
    served = service.live.collection
    return JSONResponse({**served.contract, "collection": served.name}, headers=_NO_STORE)


@api.get("/v1/collection", responses=failures(503), response_description="At most five minutes old.")
async def collection(service: CurrentService, _parameters: NoParameters) -> schemas.Collection:
    """Summarise what is in the collection."""
    taken = await service.snapshot()
    return schemas.Collection(
        collection=service.live.collection.name, rows=taken.rows, pictures=taken.images, facets=taken.facets,
        sharing=taken.sharing, shared=taken.shared, latest_run=await service.latest_run(),
    )  # fmt: skip


@api.get(
    "/v1/collection/map",
    responses=failures(503),
    response_description="At most five minutes old, of at most 5,000 products.",
)
async def collection_map(service: CurrentService, _parameters: NoParameters) -> schemas.Map:
    """Place the products on a plane, by their two principal components."""
    return (await service.snapshot()).plane


@api.get(
    "/v1/products/{product_id:path}/similar",
    responses=failures(404, 503),
    response_description="The nearest products, best first, without the product itself.",
)
async def similar(
    service: CurrentService, product_id: ProductId, asked: Annotated[schemas.SimilarParameters, Query()]
) -> schemas.Hits:
    """Find products similar to a product."""
    with service.gate.enter():
        return _hits(await service.similar(product_id, asked))


@api.get(
    "/v1/similar",
    responses=failures(404, 503),
    response_description="The nearest products, best first, without the product itself.",
)
async def similar_by_id(service: CurrentService, asked: Annotated[schemas.SimilarById, Query()]) -> schemas.Hits:
    """Find products similar to a product with any id."""
    return await similar(service, asked.product_id, asked)


@api.get(
    "/v1/products/{product_id:path}/picture",
    response_class=Response,
    responses={200: _JPEG, **failures(404, 503)},
)
async def picture(
    service: CurrentService, request: Request, product_id: ProductId, asked: Annotated[schemas.ImageParameters, Query()]
) -> Response:
    """Return a product's image, scaled down."""
    with service.gate.enter():
        content, tag = await service.jpeg(product_id, asked.side)
    headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="image/jpeg", headers=headers)


@api.get("/v1/picture", response_class=Response, responses={200: _JPEG, **failures(404, 503)})
async def picture_by_id(
    service: CurrentService, request: Request, asked: Annotated[schemas.ImageById, Query()]
) -> Response:
    """Return the image of a product with any id, scaled down."""
    return await picture(service, request, asked.product_id, asked)


@api.get("/v1/products/{product_id:path}", responses=failures(404, 503), response_description="The product.")
async def product(service: CurrentService, product_id: ProductId, _parameters: NoParameters) -> schemas.Product:
    """Return a product's fields."""
    with service.gate.enter():
        found = await service.product(service.live.collection, product_id)
    return schemas.Product(product_id=found.product_id, fields=dict(found.metadata))


@api.get("/v1/product", responses=failures(404, 503), response_description="The product.")
async def product_by_id(service: CurrentService, asked: Annotated[schemas.ProductById, Query()]) -> schemas.Product:
    """Return the fields of a product with any id."""
    return await product(service, asked.product_id, schemas.NoParameters())


@api.get("/metrics", response_class=Response, responses={200: _METRICS})
async def prometheus(service: CurrentService) -> Response:
    """Return metrics in Prometheus' text format."""
    return Response(service.metrics.text(), media_type="text/plain; version=0.0.4")


@probes.get("/healthz", response_description="The process is alive.")
async def healthz(_service: CurrentService) -> schemas.Status:
    """Say that the process is alive."""
    return schemas.Status(status="alive")


@probes.get("/readyz", response_model=schemas.Status, responses=failures(503), response_description="It can search.")
async def readyz(service: CurrentService, request: Request) -> Any:
    """Say whether the service can search."""
    if not (fault := service.live.fault):
        return schemas.Status(status="ready")
    rules: AccessRules = request.app.state.rules  # the reason names machines and models: only for those who may ask
    return error_response(503, fault if has_token(rules, request.headers) else "not ready", _NO_STORE)


@probes.get("/openapi.json", response_model=dict[str, Any], response_description="This document.")
async def openapi(_service: CurrentService, request: Request) -> Response:
    """Describe the service."""
    return JSONResponse(document(request.app), headers={"Cache-Control": "no-cache"})


@probes.get("/", include_in_schema=False)
async def page(_service: CurrentService, request: Request) -> Response:
    """Return the page."""
    return HTMLResponse(request.app.state.index, headers={"Cache-Control": "no-cache"})


def _hits(found: Found) -> schemas.Hits:
    hits = [
        schemas.SearchHit(product_id=hit.product_id, score=round(hit.score, 6) + 0.0, fields=dict(hit.metadata))
        for hit in found.hits
    ]
    return schemas.Hits(hits=hits, warnings=found.warnings)
