"""JSON answers keep their content, and have nothing that a terminal obeys."""

from __future__ import annotations

import json

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.testclient import TestClient
from unit.core.test_escape import ATTACKS, unsafe

from ingest.server.json_answers import JsonEscapeMiddleware

CONTENT = {"title": "".join(text for name, text in ATTACKS.items() if name != "half a character"), "plain": "Größe ☕"}


@pytest.fixture
def client() -> TestClient:
    routes = [
        Route("/json", lambda _request: JSONResponse(CONTENT)),
        Route("/text", lambda _request: PlainTextResponse(CONTENT["title"])),
        Route("/none", lambda _request: Response(status_code=204)),
    ]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(JsonEscapeMiddleware)]))


def test_json_is_escaped_and_its_length_is_right(client):
    answer = client.get("/json")
    assert json.loads(answer.content) == CONTENT
    assert unsafe(answer.content.decode()) == []
    assert "Größe ☕" in answer.content.decode()
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_other_answers_pass_as_they_are(client):
    assert client.get("/text").content.decode() == CONTENT["title"]
    assert client.get("/none").status_code == 204
