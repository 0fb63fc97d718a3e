"""Field names in a filter are told apart from keywords, texts and functions; written values are quoted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from milvus_lite.search.filter.tokens import tokenize

from ingest.core.errors import QueryError
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


def literals(expression):
    """Return the values in an expression as Milvus Lite reads them."""
    found, sign = [], 1
    for token in tokenize(expression):
        if token.value is not None:
            found.append(sign * token.value if type(token.value) is int else token.value)
        sign = -1 if token.text == "-" else 1
    return found


@given(st.lists(st.text() | st.booleans() | st.integers(-(2**62), 2**62), min_size=1))
def test_what_ingest_quotes_is_read_as_it_was_by_types_and_names_no_field(values):
    types = list(dict.fromkeys(map(type, values)))
    grouped = sorted(values, key=lambda value: types.index(type(value)))
    for expression in (filters.among("product_id", values), filters.not_among("product_id", values)):
        assert filters.names(expression) == ["product_id"]
        assert repr(literals(expression)) == repr(grouped)


def test_no_values_match_no_row():
    assert filters.among("a", []) == "a in []"
    assert filters.not_among("a", []) == ""
    assert filters.not_among('$meta["in"]', []) == ""


def test_a_key_is_compared_with_each_value():
    assert filters.among('$meta["in"]', ["a", 2]) == '$meta["in"] == "a" or $meta["in"] == 2'
    assert filters.not_among('$meta["in"]', ["a", 2]) == '$meta["in"] != "a" and $meta["in"] != 2'


@pytest.mark.parametrize(
    "name", ["season", "my field", "in", "Like", "NULL", "exists", "iso", 'a"b', "it's", "a]b", "farbe/größe"]
)
def test_a_key_of_the_dynamic_field_is_written_so_that_its_name_is_read_again(name):
    assert filters.names(f"{filters.field(name, [])} == 1") == [name]


def test_a_name_is_written_as_a_key_where_it_must_be():
    assert filters.field("season", []) == "season"
    assert filters.field("in", ["in"]) == "in", "a field of a contract from before such names were refused"
    assert filters.field("in", ["title"]) == '$meta["in"]'
    assert filters.field('a"b', []) == """$meta['a"b']"""
    assert filters.field("tab\there", []) == '$meta["tab\there"]'


@pytest.mark.parametrize("name", ["a\\b", "a\nb", "a\rb", """both ' and \"""", "a][b"])
def test_a_key_that_no_filter_can_name_is_refused(name):
    with pytest.raises(QueryError, match="cannot be written in a filter of Milvus; give the column a plainer name"):
        filters.field(name, [])


def test_expressions_hold_together():
    assert filters.all_of("", "  ") == ""
    assert filters.all_of("a > 1", "") == "a > 1"
    assert filters.all_of("a > 1 or b > 1", "c > 1") == "(a > 1 or b > 1) and (c > 1)"


def test_a_misspelt_name_gets_a_suggestion():
    assert filters.suggest("prise", ["title", "price"]) == " (did you mean price?)"
    assert filters.suggest("zzz", ["title", "price"]) == ""


FIELDS = {"title": "VARCHAR", "price": "DOUBLE", "stock": "INT64", "new": "BOOL"}


@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("price = 20", "write == to compare: price == 20"),
        ('title == "a = b" and price=20', 'write == to compare: title == "a = b" and price == 20'),
        ("title < 20", 'title is text, so its value needs quotes: title < "20"'),
        ('price < 9 and $meta["title"] == 3', 'title is text, so its value needs quotes: title == "3"'),
        ("price >= '20'", "price is a number, so its value has no quotes: price >= 20"),
        ('stock == "7"', "stock is a number, so its value has no quotes: stock == 7"),
        ('price <= 20 and title != "= 1"', ""),
        ('title == "price = 20"', ""),
        ("price <", ""),
        ("new == true", ""),
    ],
)
def test_what_is_wrong_with_a_filter_is_said_with_how_to_write_it(expression: str, said: str) -> None:
    assert filters.explain(expression, FIELDS) == said


@given(st.text(max_size=40))
def test_any_text_is_looked_at_without_an_error(expression: str) -> None:
    assert isinstance(filters.explain(expression, FIELDS), str)
    assert isinstance(filters.compared_with_numbers(expression), list)


def test_names_that_are_compared_with_numbers_are_found() -> None:
    expression = """weight > 3 and $meta["depth cm"] <= -2.5 or size == "4" and text == "width > 1" and weight < 9"""
    assert filters.compared_with_numbers(expression) == ["weight", "depth cm"]
