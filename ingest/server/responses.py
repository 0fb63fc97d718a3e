"""What a request ends with: JSON, and for every failure one line of JSON with the status that says whose it is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse

from ingest.core.errors import InputError, MilvusError, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from starlette.requests import Request
    from starlette.responses import Response


class BadRequestError(Exception):
    """The request says something that the service does not understand: 400."""


class NotFoundError(Exception):
    """What was asked for by its name is not there: 404."""


class OverloadedError(Exception):
    """More requests than may wait: 503."""


def error_response(status: int, reason: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return the answer of every failure: a status and `{"error": …}` in one line."""
    return JSONResponse({"error": " ".join(reason.split())}, status, dict(headers or {}))


# the class, the status that says whose fault it is, and after how many seconds it may be tried again
_STATUS: tuple[tuple[type[Exception], int, int], ...] = (
    (NotFoundError, 404, 0),
    (BadRequestError, 400, 0),
    (ClientDisconnect, 400, 0),  # nobody reads it, and it is no bug
    (InputError, 400, 0),
    (ModelError, 409, 0),
    (OverloadedError, 503, 1),
    (MilvusError, 503, 5),
)


def handler(_request: Request, error: Exception) -> Response:
    """Turn what a route raised into an answer; what is nobody's fault but ours is 500, its traceback in the log."""
    if isinstance(error, HTTPException):
        return error_response(error.status_code, error.detail, error.headers)
    for kind, status, seconds in _STATUS:
        if isinstance(error, kind):
            reason = str(error).removeprefix("--")  # a message for the command line names the flag
            return error_response(status, reason, {"Retry-After": str(seconds)} if seconds else None)
    return error_response(500, "a bug of ours; the service's log has its traceback, please report it")


HANDLED: tuple[type[Exception], ...] = (HTTPException, *(kind for kind, _, _ in _STATUS))


def finite(value: Any) -> Any:
    """Return a value that JSON can carry: what is no finite number becomes None."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
