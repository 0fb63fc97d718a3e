"""What a request asks, read and checked: JSON, a form with a picture, or the query part of an address."""

from __future__ import annotations

import asyncio
import json
import math
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from ingest.server.responses import BadRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from starlette.requests import Request

MAX_JSON_BYTES = 64 * 2**10
MAX_TEXT, MAX_ID, MAX_FILTER, MAX_LIMIT, MAX_WEIGHT = 2_000, 1_024, 10_000, 1_000, 100.0
"""Of characters; hits; and the largest weight."""
DEFAULT_LIMIT = 20
PARTS = ("text", "picture", "product")
"""What a query may be made of, and the names of their weights."""
_READ_TIMEOUT_S = 30.0
_FORM_OVERHEAD = 2**17  # boundaries, headers, and the query beside the picture


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A search as it was asked for, less its picture."""

    text: str | None = None
    product_id: str | None = None
    filter: str = ""
    limit: int = DEFAULT_LIMIT
    weights: Mapping[str, float] = field(default_factory=dict)


@asynccontextmanager
async def read_request(request: Request, max_picture: int) -> AsyncIterator[tuple[dict[str, Any], UploadFile | None]]:
    """Yield the JSON object of a request and its picture; both come from a form where there is one.

    `max_picture`, in bytes, bounds the picture. Raises BadRequestError, and HTTPException (408, 413, 415).
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "application/json":
        yield _object(await _within_time(request.body())), None
        return
    if kind != "multipart/form-data":
        raise HTTPException(415, "send application/json, or multipart/form-data with a picture")
    form = await _within_time(request.form(max_files=1, max_fields=1, max_part_size=MAX_JSON_BYTES))
    try:
        picture, query = form.get("picture"), form.get("query", "{}")
        if others := sorted(set(form) - {"picture", "query"}):
            raise BadRequestError(f"{others[0]!r} is not a part of the form; there are picture and query")
        if not isinstance(picture, UploadFile) or not isinstance(query, str):
            raise BadRequestError("a form needs a file called picture; a query beside it is JSON")
        if (picture.size or 0) > max_picture:
            raise HTTPException(413, too_large(max_picture))
        yield _object(query.encode("utf-8", "surrogatepass")), picture
    finally:
        await form.close()


def too_large(max_picture: int) -> str:
    """Return what is said of a body that is larger than a picture may be."""
    return f"more than {max_picture:,} bytes; send a smaller picture, or raise --max-image-bytes"


def body_limit(content_type: str, max_picture: int) -> int:
    """Return how many bytes a body of this type may have."""
    return max_picture + _FORM_OVERHEAD if content_type.startswith("multipart/") else MAX_JSON_BYTES


def search(content: Mapping[str, Any], *, with_picture: bool) -> SearchRequest:
    """Read the object of a search; raises BadRequestError naming what is wrong."""
    only(content, {"text", "product_id", "filter", "limit", "weights"})
    found = SearchRequest(
        text=_text(content, "text", MAX_TEXT),
        product_id=_text(content, "product_id", MAX_ID),
        filter=_text(content, "filter", MAX_FILTER) or "",
        limit=_limit(content.get("limit", DEFAULT_LIMIT)),
        weights=_weights(content.get("weights", {})),
    )
    if found.text is not None and not found.text.strip():
        raise BadRequestError("text is empty; say what to look for, or leave it out")
    if found.text is None and found.product_id is None and not with_picture:
        raise BadRequestError("nothing to look for; give a text, a product_id, or a picture in a form")
    return found


def embedding(content: Mapping[str, Any], *, with_picture: bool) -> str | None:
    """Return the text to embed, None where it is the picture."""
    only(content, {"text"})
    text = _text(content, "text", MAX_TEXT)
    if with_picture == (text is not None):
        raise BadRequestError("give one of a text (JSON) and a picture (a form)")
    if text is not None and not text.strip():
        raise BadRequestError("text is empty; say what to embed")
    return text


def similar(parameters: Mapping[str, str]) -> SearchRequest:
    """Read the query part of an address: `limit` and `filter`."""
    only(parameters, {"filter", "limit"})
    return SearchRequest(filter=_text(parameters, "filter", MAX_FILTER) or "",
                 limit=_limit(whole(parameters, "limit", DEFAULT_LIMIT)))  # fmt: skip


def whole(parameters: Mapping[str, str], name: str, default: int) -> int:
    """Return a whole number of an address's query part."""
    value = parameters.get(name, str(default))
    if not (value.isascii() and value.isdecimal() and len(value) < 10):
        raise BadRequestError(f"{name} is {value[:60]!r}; it is a whole number")
    return int(value)


def only(content: Mapping[str, Any], known: set[str]) -> None:
    """Raise BadRequestError where there are names that nobody reads."""
    if others := sorted(set(content) - known):
        raise BadRequestError(f"{others[0][:60]!r} is not known here; known: {', '.join(sorted(known)) or 'nothing'}")


async def _within_time(reading: Any) -> Any:
    try:
        async with asyncio.timeout(_READ_TIMEOUT_S):
            return await reading
    except TimeoutError as error:
        raise HTTPException(408, f"the request did not arrive within {_READ_TIMEOUT_S:.0f} s") from error


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"the body is not JSON ({error})") from error
    if not isinstance(content, dict):
        raise BadRequestError("the body is not a JSON object")
    return content


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is not a JSON number")


def _text(content: Mapping[str, Any], name: str, longest: int) -> str | None:
    value = content.get(name)
    if name not in content:
        return None
    if not isinstance(value, str) or not 1 <= len(value) <= longest:
        raise BadRequestError(f"{name} is a text of 1 to {longest:,} characters")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise BadRequestError(f"{name} has a character that no text has (NUL, or half of a pair)")
    return value


def _limit(value: Any) -> int:
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # JSON has one kind of number
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MAX_LIMIT:
        raise BadRequestError(f"limit is a whole number from 1 to {MAX_LIMIT:,}")
    return value


def _weights(value: Any) -> dict[str, float]:
    if not isinstance(value, dict):
        raise BadRequestError('weights is an object such as {"text": 0.4}')
    only(value, set(PARTS))
    for name, weight in value.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not number or not math.isfinite(weight) or abs(weight) > MAX_WEIGHT:
            raise BadRequestError(f"weights.{name} is a number from {-MAX_WEIGHT:g} to {MAX_WEIGHT:g}")
    return {name: float(weight) for name, weight in value.items()}
