"""Errors as answers: one line of JSON, with the status that says whose fault it is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from ingest.core.errors import InputError, MilvusError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response


class BadRequestError(Exception):
    """The service does not understand the request: 400."""


class NotFoundError(Exception):
    """There is nothing of the name that was asked for: 404."""


class OverloadedError(Exception):
    """Too many requests are waiting: 503."""


def error_response(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer of every failure: a status and `{"error": …}` in one line."""
    return JSONResponse({"error": " ".join(reason.split())}, status, dict(headers or {}))


# error class, status, and after how many seconds the client may try again
_STATUS: tuple[tuple[type[Exception], int, int], ...] = (
    (NotFoundError, 404, 0),
    (BadRequestError, 400, 0),
    (ClientDisconnect, 400, 0),  # nobody reads the answer, and it is no bug
    (InputError, 400, 0),
    (ModelError, 409, 0),
    (OverloadedError, 503, 1),
    (MilvusError, 503, 5),
)


def handle_error(_request: Request, error: Exception) -> Response:
    """Turn an exception of a route into an answer. A bug is a 500, with its traceback in the log only."""
    if isinstance(error, HTTPException):
        return error_response(error.status_code, error.detail, error.headers)
    if isinstance(error, RequestValidationError):
        if error.errors()[0]["loc"][0] == "path":
            return error_response(404, "no product has such an id")
        return error_response(400, describe(error.errors()))
    for kind, status, seconds in _STATUS:
        if isinstance(error, kind):
            reason = str(error).removeprefix("--")  # messages for the command line begin with the flag
            return error_response(status, reason, {"Retry-After": str(seconds)} if seconds else None)
    return error_response(500, "a bug in ingest; the service's log has its traceback, please report it")


HANDLED: tuple[type[Exception], ...] = (HTTPException, RequestValidationError, *(kind for kind, _, _ in _STATUS))


def describe(errors: Sequence[Mapping[str, Any]]) -> str:
    """Return the first of Pydantic's validation errors as a sentence: `limit should be less than or equal to 1000`."""
    first = errors[0]
    field = ".".join(str(part)[:60] for part in first["loc"] if part not in ("query", "[key]"))
    if first["type"] == "extra_forbidden":
        return f"{field!r} is not known here; /openapi.json lists what is"
    reason = first["msg"]
    for theirs, ours in (("Value error, ", ""), ("Input should", "should"), ("Invalid JSON", "is not JSON")):
        reason = reason.replace(theirs, ours)
    return f"{field or 'the body'} {reason[:1].lower()}{reason[1:]}"
