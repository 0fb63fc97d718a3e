"""Reads the body of a request: JSON, or a form with an image and JSON beside it."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import unquote_to_bytes

from pydantic import BaseModel, ValidationError
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from ingest.server.responses import BadRequestError, describe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

    from starlette.requests import Request

Content = TypeVar("Content")
RequestQuery = TypeVar("RequestQuery", bound=BaseModel)

MAX_JSON_BYTES = 64 * 2**10
_READ_TIMEOUT_S = 30.0
_FORM_OVERHEAD = 2**17  # boundaries, headers, and the query beside the image


@asynccontextmanager
async def read_request(
    request: Request, kind: type[RequestQuery], max_image_bytes: int
) -> AsyncIterator[tuple[RequestQuery, UploadFile | None]]:
    """Yield the query of a request and its image; a form holds both, or an image alone.

    Raises BadRequestError, and HTTPException: 408 if the body does not arrive in time, 413 for an image larger than
    `max_image_bytes`, 415 for another content type.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type == "application/json":
        yield _parse(kind, await _within_time(request.body())), None
        return
    if content_type != "multipart/form-data":
        raise HTTPException(415, "send application/json, or multipart/form-data with an image called picture")
    form = await _within_time(request.form(max_files=1, max_fields=1, max_part_size=MAX_JSON_BYTES))
    try:
        image, query = form.get("picture"), form.get("query", "{}")
        if others := sorted(set(form) - {"picture", "query"}):
            raise BadRequestError(f"{others[0]!r} is not a part of the form; its parts are picture and query")
        if not isinstance(image, UploadFile) or not isinstance(query, str):
            raise BadRequestError("a form needs a file called picture; a query beside it is JSON, not a file")
        if (image.size or 0) > max_image_bytes:
            raise HTTPException(413, too_large(max_image_bytes))
        yield _parse(kind, query.encode("utf-8", "surrogatepass")), image
    finally:
        await form.close()


def check_query(request: Request) -> None:
    """Raise BadRequestError for a query string with two meanings: bytes that are no text, or a name given twice."""
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("the query string is not encoded UTF-8") from error
    names = [name for name, _ in request.query_params.multi_items()]
    if twice := next((name for name, count in Counter(names).items() if count > 1), None):
        raise BadRequestError(f"{twice[:60]!r} is given twice")


def too_large(max_image_bytes: int) -> str:
    """Return the message for a body that is larger than an image may be."""
    return f"more than {max_image_bytes:,} bytes; send a smaller image, or raise --max-image-bytes"


def body_limit(content_type: str, max_image_bytes: int) -> int:
    """Return how many bytes a body of this content type may have."""
    return max_image_bytes + _FORM_OVERHEAD if content_type.startswith("multipart/") else MAX_JSON_BYTES


def _parse(kind: type[RequestQuery], body: bytes) -> RequestQuery:
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise BadRequestError(describe(error.errors(include_url=False))) from error


async def _within_time(reading: Awaitable[Content]) -> Content:
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            return await reading
    except TimeoutError as error:
        raise HTTPException(408, f"the request did not arrive within {_READ_TIMEOUT_S:.0f} s") from error
