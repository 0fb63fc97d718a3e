"""The OpenAPI document: what FastAPI cannot derive from the routes and their types."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic.json_schema import models_json_schema

from ingest.server import schemas

if TYPE_CHECKING:
    from fastapi import FastAPI
    from pydantic import BaseModel

_REF = "#/components/schemas/{model}"
_FAILURES = {
    400: "The request is not understood: a filter with a mistake, or an image that cannot be read.",
    401: "The token is missing or wrong.",
    403: "The request comes from a page of an origin that is not allowed.",
    404: "There is no product, or no image, with this id.",
    408: "The request did not arrive within 30 seconds.",
    409: "The service's model is not the one that the collection was built with.",
    413: "The body is larger than an image, or a query, may be.",
    415: "The body is neither JSON nor a form.",
    421: "The Host header names another machine.",
    503: "Milvus is unavailable, or too many requests are waiting; Retry-After says when to try again.",
}


def failures(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Describe how an operation can fail, for its `responses`."""
    retry = {503: {"headers": {"Retry-After": {"schema": {"type": "integer"}}}}}
    return {code: {"model": schemas.Failure, "description": _FAILURES[code], **retry.get(code, {})} for code in codes}


def request_body(query: type[BaseModel], form: type[BaseModel]) -> dict[str, Any]:
    """Describe a body for `openapi_extra`: JSON or a form. FastAPI has one content type per route, so we read it."""
    content = {
        "application/json": {"schema": {"$ref": _REF.format(model=query.__name__)}},
        "multipart/form-data": {
            "schema": {"$ref": _REF.format(model=form.__name__)},
            "encoding": {"query": {"contentType": "application/json"}},
        },
    }
    return {"requestBody": {"required": True, "content": content}}


def document(app: FastAPI) -> dict[str, Any]:
    """Return the document, without the status that FastAPI would answer and with the bodies' schemas."""
    if app.openapi_schema is not None:
        return app.openapi_schema
    made = app.openapi()
    _, bodies = models_json_schema(
        [(model, "validation") for model in (
            schemas.SearchWithoutImage, schemas.SearchForm, schemas.EmbedQuery, schemas.EmbedForm,
        )],
        ref_template=_REF,
    )  # fmt: skip
    made["components"]["schemas"].update(bodies["$defs"])
    for name in ("HTTPValidationError", "ValidationError"):
        made["components"]["schemas"].pop(name, None)
    for path in made["paths"].values():
        for operation in path.values():
            operation["responses"].pop("422", None)
    return made
