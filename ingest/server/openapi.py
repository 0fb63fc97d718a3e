"""The OpenAPI document of the service, with the limits that the routes hold."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from ingest.server import request_parsing
from ingest.server.thumbnails import SIDES

_FAILURES = {
    400: "The request says something that is not understood: a filter with a mistake, a picture that is none.",
    401: "The token is missing or wrong.",
    403: "A page of another origin asks, and may not.",
    404: "No product, or no picture, of that id.",
    408: "The request did not arrive within half a minute.",
    409: "The service's model is not the one that the collection was built with.",
    413: "More bytes than a picture, or a query, may have.",
    415: "Neither JSON nor a form.",
    421: "The Host header names another machine.",
    503: "Milvus is away, or too many requests are waiting; Retry-After says when to ask again.",
}
_ALWAYS = (400, 403, 413, 421)
_SCALAR = {"type": ["string", "number", "boolean", "null"]}
_NUMBER_OR_NONE = {"type": ["number", "null"]}


def document(*, with_token: bool) -> dict[str, Any]:
    """Return the document as OpenAPI 3.1; `with_token` says that one must be sent."""
    failures = (*_ALWAYS, 401) if with_token else _ALWAYS
    content: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "ingest", "version": version("ingest"), "summary": "Find products by picture or words."},
        "paths": {path: _path(path, operations, failures) for path, operations in _PATHS.items()},
        "components": {"schemas": _SCHEMAS},
    }
    if with_token:
        content["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return content


def _path(path: str, operations: dict[str, Any], always: tuple[int, ...]) -> dict[str, Any]:
    guarded = path.startswith(("/v1/", "/metrics"))
    made = {}
    for method, (summary, operation, answer, failures) in operations.items():
        codes = sorted({*failures, *always}) if guarded else sorted({413, 421, *failures})
        made[method] = {
            "summary": summary,
            **operation,
            "responses": {"200": answer, **{str(code): _failure(code) for code in codes}},
            **({"security": [{"token": []}]} if guarded and 401 in always else {}),
        }
        if path.startswith("/v1/products/"):
            made[method]["parameters"] = [_PRODUCT_ID, *operation.get("parameters", [])]
    return made


def _failure(code: int) -> dict[str, Any]:
    headers = {"Retry-After": {"schema": {"type": "integer"}}} if code == 503 else None
    return {"description": _FAILURES[code], **_json("Failure"), **({"headers": headers} if headers else {})}


def _json(schema: str) -> dict[str, Any]:
    return {"content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}}


def _told(description: str, schema: str) -> dict[str, Any]:
    return {"description": description, **_json(schema)}


def _body(schema: str, form: str) -> dict[str, Any]:
    """Describe a body: a JSON object, or a form of a picture with the same object beside it."""
    refer = "#/components/schemas/"
    return {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": refer + schema}},
                "multipart/form-data": {
                    "schema": {"$ref": refer + form},
                    "encoding": {"query": {"contentType": "application/json"}},
                },
            },
        }
    }


def _object(properties: dict[str, Any], *required: str, **more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required or properties),
            "additionalProperties": False, **more}  # fmt: skip


def _array(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_TEXT = {"type": "string", "minLength": 1, "maxLength": request_parsing.MAX_TEXT, "pattern": r"\S"}
_ID = {"type": "string", "minLength": 1, "maxLength": request_parsing.MAX_ID}
_FILTER = {
    "type": "string", "minLength": 1, "maxLength": request_parsing.MAX_FILTER,
    "description": 'A Milvus filter: category == "mugs" and price < 20',
}  # fmt: skip
_LIMIT = {
    "type": "integer",
    "minimum": 1,
    "maximum": request_parsing.MAX_LIMIT,
    "default": request_parsing.DEFAULT_LIMIT,
}
_WEIGHT = {
    "type": "number",
    "minimum": -request_parsing.MAX_WEIGHT,
    "maximum": request_parsing.MAX_WEIGHT,
    "default": 1,
}
_PICTURE = {"type": "string", "contentMediaType": "application/octet-stream", "format": "binary"}
_QUERY = {
    "text": _TEXT,
    "product_id": {**_ID, "description": "Found are products like it; it is left out itself."},
    "filter": _FILTER,
    "limit": _LIMIT,
    "weights": {
        "type": "object",
        "description": "How much each part counts; a part that is not named counts 1, a negative one pushes away.",
        "properties": dict.fromkeys(request_parsing.PARTS, _WEIGHT),
        "additionalProperties": False,
    },
}
_PRODUCT_ID = {"name": "product_id", "in": "path", "required": True, "schema": _ID}


def _parameter(name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "in": "query", "required": False, "schema": schema}


_SCHEMAS: dict[str, Any] = {
    "Search": {
        "type": "object", "properties": _QUERY, "additionalProperties": False,
        "anyOf": [{"required": ["text"]}, {"required": ["product_id"]}],
    },
    "SearchByPicture": _object({
        "picture": _PICTURE,
        "query": {"type": "object", "properties": _QUERY, "additionalProperties": False},
    }, "picture"),
    "Embed": _object({"text": _TEXT}),
    "EmbedPicture": _object({"picture": _PICTURE}),
    "Hits": _object({
        "hits": _array(_object({
            "product_id": _STRING,
            "score": {"type": "number", "description": "The cosine of query and product, −1 to 1."},
            "fields": {"type": "object", "additionalProperties": True},
        }))
    }),
    "Vector": _object({
        "vector": {**_array({"type": "number"}), "description": "Of unit length, in the collection's space."},
        "alias": _STRING, "model": _STRING, "fingerprint": _STRING, "dim": _COUNT, "ef": _COUNT,
    }),
    "Product": _object({"product_id": _STRING, "fields": {"type": "object", "additionalProperties": _SCALAR}}),
    "Contract": {
        "type": "object", "additionalProperties": True,
        "description": "The collection's property ingest.contract, and the collection's own name.",
        "required": ["collection", "alias", "model", "revision", "fingerprint", "dim", "fields", "ef", "ef_schema",
                     "ef_measured"],
        "properties": {
            "ef": {**_COUNT, "description": "The ef to search with: the measured one if there is one."},
            "ef_schema": _COUNT,
            "ef_measured": {"type": ["integer", "null"], "description": "Set by `ingest evaluate --apply`."},
            "missing": {
                "type": "object", "additionalProperties": _NUMBER_OR_NONE,
                "description": "How missing numbers are kept, by field: null, or a number; NaN where it is not named.",
            },
        },
    },
    "Collection": _object({
        "collection": _STRING, "rows": _COUNT, "pictures": _COUNT,
        "facets": _array(_object({
            "name": _STRING, "type": _STRING, "low": _NUMBER_OR_NONE, "high": _NUMBER_OR_NONE,
            "missing": {**_NUMBER_OR_NONE, "description": "Stands for a missing number: leave it out of a range."},
            "values": _array(_object({"value": _SCALAR, "rows": _COUNT})),
        })),
        "sharing": _COUNT,
        "shared": _array(_object({"products": _COUNT, "product_ids": _array(_STRING)})),
        "latest_run": {"anyOf": [{"type": "null"}, _object({
            "started": _STRING, "outcome": _STRING, "reasons": {"type": "object", "additionalProperties": _COUNT},
            "skipped": _array({"type": "object", "additionalProperties": {"type": ["string", "null"]}}),
            "collection": _STRING, "served": {"type": ["string", "null"]}, "failure": _STRING,
        })]},
    }),
    "Map": _object({
        "product_ids": _array(_STRING), "x": _array({"type": "number"}), "y": _array({"type": "number"}),
        "fields": {"type": "object", "additionalProperties": _array(_SCALAR)},
        "explained": {"type": "number", "minimum": 0, "maximum": 1},
    }),
    "Status": _object({"status": _STRING}),
    "Failure": _object({"error": {"type": "string", "description": "What is wrong and the way out, in one line."}}),
}  # fmt: skip
_JPEG = {"description": "A JPEG.", "content": {"image/jpeg": {"schema": _PICTURE}}}
_PROMETHEUS = {"description": "Prometheus' text format.", "content": {"text/plain": {"schema": _STRING}}}
_ANY = {"description": "This document.", "content": {"application/json": {"schema": {"type": "object"}}}}
_ASK = (404, 408, 409, 415, 503)

# path: {method: (summary, what else the operation has, its answer, how it may fail besides what all do)}
_PATHS: dict[str, dict[str, tuple[str, dict[str, Any], dict[str, Any], tuple[int, ...]]]] = {
    "/v1/search": {
        "post": ("Find products by text, picture, product, or any of them together.",
                 _body("Search", "SearchByPicture"), _told("The nearest, best first.", "Hits"), _ASK),
    },
    "/v1/embed": {
        "post": ("Embed a text or a picture, to query Milvus with.", _body("Embed", "EmbedPicture"),
                 _told("The vector, and which space it is in.", "Vector"), (408, 409, 415, 503)),
    },
    "/v1/contract": {"get": ("Say what the collection is.", {}, _told("The contract.", "Contract"), ())},
    "/v1/collection": {
        "get": ("Say what is in the collection.", {},
                _told("At most five minutes old.", "Collection"), (503,)),
    },
    "/v1/collection/map": {
        "get": ("Place the products on a plane, by their two principal components.", {},
                _told("At most five minutes old, of at most 5,000 products.", "Map"), (503,)),
    },
    "/v1/products/{product_id}": {
        "get": ("Tell a product's fields.", {}, _told("The product.", "Product"), (404, 503)),
    },
    "/v1/products/{product_id}/similar": {
        "get": ("Find products like a product.",
                {"parameters": [_parameter("filter", _FILTER), _parameter("limit", _LIMIT)]},
                _told("The nearest, best first, itself left out.", "Hits"), (404, 503)),
    },
    "/v1/products/{product_id}/picture": {
        "get": ("Show a product's picture, made small.",
                {"parameters": [_parameter("side", {"type": "integer", "minimum": SIDES[0], "maximum": SIDES[1]})]},
                _JPEG, (404, 503)),
    },
    "/healthz": {"get": ("Say that the process is alive.", {}, _told("It is.", "Status"), ())},
    "/readyz": {"get": ("Say whether searches can be answered.", {}, _told("They can.", "Status"), (503,))},
    "/metrics": {"get": ("Count and time requests, for Prometheus.", {}, _PROMETHEUS, ())},
    "/openapi.json": {"get": ("Describe the service.", {}, _ANY, ())},
}  # fmt: skip
