"""What a request may say: read whole or refused, never an error of ours."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.server import request_parsing
from ingest.server.responses import BadRequestError

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
JSON = (
    PLAIN
    | st.lists(PLAIN, max_size=2)
    | st.dictionaries(st.sampled_from([*request_parsing.PARTS, "words"]), PLAIN, max_size=2)
)
NAMES = st.sampled_from(["text", "product_id", "filter", "limit", "weights", "colour"])


@given(st.dictionaries(NAMES, JSON, max_size=5), st.booleans())
def test_whatever_is_asked_is_understood_or_refused(content, with_picture) -> None:
    try:
        asked = request_parsing.search(content, with_picture=with_picture)
    except BadRequestError:
        assert content.keys() & {"text", "product_id", "filter", "limit", "weights", "colour"} or not with_picture
    else:
        assert asked.text or asked.product_id or with_picture
        assert 1 <= asked.limit <= request_parsing.MAX_LIMIT
        assert set(asked.weights) <= set(request_parsing.PARTS)


@given(st.dictionaries(st.sampled_from(["limit", "filter", "page"]), st.text(max_size=12), max_size=3))
def test_whatever_stands_in_an_address_is_understood_or_refused(parameters) -> None:
    try:
        asked = request_parsing.similar(parameters)
    except BadRequestError:
        return
    assert asked.limit == int(parameters.get("limit", request_parsing.DEFAULT_LIMIT))


@pytest.mark.parametrize("limit", [1, 24, 24.0, request_parsing.MAX_LIMIT])
def test_a_limit_is_a_whole_number_however_json_writes_it(limit) -> None:
    assert request_parsing.search({"text": "mug", "limit": limit}, with_picture=False).limit == int(limit)


def test_one_of_a_text_and_a_picture_is_embedded() -> None:
    assert request_parsing.embedding({"text": "mug"}, with_picture=False) == "mug"
    assert request_parsing.embedding({}, with_picture=True) is None
    for content, with_picture in (
        ({}, False),
        ({"text": "mug"}, True),
        ({"text": " "}, False),
        ({"words": "m"}, False),
    ):
        with pytest.raises(BadRequestError):
            request_parsing.embedding(content, with_picture=with_picture)
