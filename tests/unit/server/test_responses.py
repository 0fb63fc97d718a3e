"""Every failure becomes one line of JSON, and the status says whose fault it is."""

from __future__ import annotations

import json

import pytest
from starlette.exceptions import HTTPException

from ingest.core.errors import MilvusError, ModelError, QueryError
from ingest.server import responses


@pytest.mark.parametrize(
    ("error", "status", "retry"),
    [
        (responses.BadRequestError("limit is odd"), 400, None),
        (QueryError("the filter\nis odd"), 400, None),
        (responses.NotFoundError("no product P1"), 404, None),
        (ModelError("another model"), 409, None),
        (HTTPException(413, "too much"), 413, None),
        (responses.OverloadedError("full"), 503, "1"),
        (MilvusError("away"), 503, "5"),
        (ZeroDivisionError("secret"), 500, None),
    ],
)
def test_an_error_has_its_status_and_one_line(error, status, retry) -> None:
    answer = responses.handle_error(None, error)
    said = json.loads(answer.body)
    assert answer.status_code == status
    assert answer.headers.get("retry-after") == retry
    assert list(said) == ["error"]
    assert "\n" not in said["error"]
    assert "secret" not in said["error"]
