"""Requests are read whole or refused in one line, never with an error of the service's own."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from ingest.server import schemas
from ingest.server.responses import describe

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = (
    PLAIN
    | st.lists(PLAIN, max_size=2)
    | st.dictionaries(st.sampled_from(["text", "picture", "product", "words"]), PLAIN, max_size=2)
)
NAMES = st.sampled_from(["text", "product_id", "filter", "limit", "weights", "colour"])


def refusal(kind: type[BaseModel], content: object) -> str:
    """Return why a body is refused; "" if it is accepted."""
    try:
        kind.model_validate_json(json.dumps(content))
    except ValidationError as error:
        return describe(error.errors())
    return ""


@given(st.dictionaries(NAMES, JSON, max_size=5))
def test_every_search_is_read_or_refused(content: dict[str, Any]) -> None:
    try:
        query = schemas.SearchQuery.model_validate_json(json.dumps(content))
    except ValidationError as error:
        reason = describe(error.errors())
    else:
        reason = ""
        assert_read(query, content)
    assert "\n" not in reason


def assert_read(query: schemas.SearchQuery, content: dict[str, Any]) -> None:
    assert content == {name: value for name, value in query.model_dump().items() if name in content}
    assert 1 <= query.limit <= schemas.MAX_LIMIT
    assert set(query.weights) <= {"text", "picture", "product"}
    assert not any("\0" in text for text in (query.text, query.product_id, query.filter))


@given(st.dictionaries(st.sampled_from(["limit", "filter", "page"]), st.text(max_size=12), max_size=3))
def test_every_url_is_read_or_refused(parameters: dict[str, str]) -> None:
    try:
        asked = schemas.SimilarParameters.model_validate(parameters)
    except ValidationError:
        return
    assert asked.limit == int(parameters.get("limit", schemas.DEFAULT_LIMIT))


@pytest.mark.parametrize("limit", ["+5", " 5", "5.0", "1_0", "٥", "5" * 10])
def test_a_number_in_a_url_is_plain_digits(limit: str) -> None:
    with pytest.raises(ValidationError, match="not a whole number"):
        schemas.SimilarParameters.model_validate({"limit": limit})


@pytest.mark.parametrize("limit", [1, 24, 24.0, schemas.MAX_LIMIT])
def test_a_limit_is_a_whole_number_however_json_writes_it(limit: float) -> None:
    assert schemas.SearchQuery.model_validate_json(json.dumps({"text": "mug", "limit": limit})).limit == int(limit)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([], "the body should be an object"),
        ({"text": None}, "text should be a valid string"),
        ({"text": " "}, "text is empty; give a text, or leave it out"),
        ({"text": "mug\0"}, "text contains the character NUL; remove it"),
        ({"text": "mug\ud800"}, "the body is not JSON"),
        ({"limit": "24"}, "limit should be a valid integer"),
        ({"limit": True}, "limit should be a valid integer"),
        ({"limit": 1001}, "limit should be less than or equal to 1000"),
        ({"weights": {"text": "1"}}, "weights.text should be a valid number"),
        ({"weights": {"text": float("nan")}}, "weights.text should be a finite number"),
        ({"weights": {"words": 1}}, "weights.words should be 'text', 'picture' or 'product'"),
        ({"colour": "red"}, "'colour' is not known here"),
    ],
)
def test_a_refusal_names_the_field_and_what_is_wrong(content: object, reason: str) -> None:
    assert refusal(schemas.SearchQuery, content).startswith(reason)


def test_numbers_that_json_does_not_have_are_answered_as_null() -> None:
    fields = {"a": float("nan"), "b": float("inf"), "c": 1.5, "d": 2, "e": "nan", "f": None, "g": True}
    answered = json.loads(schemas.Product(product_id="P1", fields=fields).model_dump_json())["fields"]

    assert answered == {"a": None, "b": None, "c": 1.5, "d": 2, "e": "nan", "f": None, "g": True}
    assert isinstance(answered["d"], int)
