"""Field names in a filter are told apart from keywords, texts and functions; written values are quoted."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.milvus import filters


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("", []),
        ("price < 20", ["price"]),
        ('category == "mugs" and not (price >= 1e3 or colour in ["red", "in blue"])', ["category", "price", "colour"]),
        ("title like 'red%' AND brand != \"it's\"", ["title", "brand"]),
        (r'title == "a \" price < 3" && brand == "x"', ["title", "brand"]),
        ('$meta["season"] == "summer"', ["season"]),
        ("$meta['my field'] == 1 or season == 'x'", ["my field", "season"]),
        ("json_contains(tags, 3)", ["tags"]),
        ("exists season", ["season"]),
        ("0x1f < price and 1_000 > price", ["price"]),
        ("price <", ["price"]),
        ('"never closed', ["never", "closed"]),
    ],
)
def test_names_are_the_fields_of_an_expression(expression, names):
    assert filters.names(expression) == names


@given(st.text())
def test_any_text_can_be_searched_for_names(text):
    assert all(filters.names(text))


@given(st.lists(st.text(), min_size=1))
def test_what_ingest_quotes_names_no_field(values):
    assert filters.names(filters.among("product_id", values)) == ["product_id"]
    assert json.loads(filters.not_among("product_id", values).partition(" not in ")[2]) == values


def test_expressions_hold_together():
    assert filters.all_of("", "  ") == ""
    assert filters.all_of("a > 1", "") == "a > 1"
    assert filters.all_of("a > 1 or b > 1", "c > 1") == "(a > 1 or b > 1) and (c > 1)"
    assert filters.not_among("a", []) == ""


def test_a_misspelt_name_gets_a_suggestion():
    assert filters.suggest("prise", ["title", "price"]) == " (did you mean price?)"
    assert filters.suggest("zzz", ["title", "price"]) == ""


def test_a_name_that_is_no_identifier_is_a_key_of_the_dynamic_field():
    assert filters.quote_field("season") == "season"
    assert filters.quote_field('my "field"') == r'$meta["my \"field\""]'
