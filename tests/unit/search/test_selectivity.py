"""Drawn filters match about a wanted share of the products, and know which."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.search import selectivity

SHARES = (0.01, 0.1, 0.5)
kinds = (st.booleans(), st.integers(-3, 3), st.floats(), st.sampled_from(["", "mugs", "it's", "ä"]))


@st.composite
def typed_columns(draw: st.DrawFn) -> dict[str, list[object]]:
    """Draw a column or two of one type each, some of whose values are not known."""
    rows = draw(st.integers(1, 60))
    column = st.one_of(*(st.lists(st.none() | kind, min_size=rows, max_size=rows) for kind in kinds))
    return draw(st.dictionaries(st.sampled_from(["title", "price"]), column))


def test_a_share_gets_a_category_and_a_bound_on_a_number() -> None:
    chance = np.random.default_rng(0)
    prices = [float(price) for price in chance.random(1000) * 100]
    categories = ["mugs"] * 100 + ["lamps"] * 400 + ["vases"] * 500

    found = selectivity.draw(
        {"category": categories, "price": prices, "title": list(map(str, range(1000)))}, SHARES, {}
    )

    assert [(one.share, one.expression.split(" ")[0]) for one in found] == [
        (0.01, "price"), (0.1, "category"), (0.1, "price"), (0.5, "category"), (0.5, "category"), (0.5, "price"),
    ]  # fmt: skip
    assert found[1].expression == 'category == "mugs"'
    assert found[1].rows.tolist() == list(range(100))
    assert [one.expression for one in found[3:5]] == ['category == "vases"', 'category == "lamps"']
    assert [len(one.rows) for one in found] == [10, 100, 100, 500, 400, 500]


def test_flags_and_whole_numbers_are_values_too() -> None:
    found = selectivity.draw({"sold": [True] * 5 + [False] * 5, "year": [2020] * 5 + [2021] * 5}, [0.5], {})

    assert {one.expression for one in found} <= {"sold == true", "sold == false", "year == 2020", "year == 2021"}
    assert found


def test_a_price_that_is_not_known_is_let_through_by_no_bound() -> None:
    [one] = selectivity.draw({"price": [math.nan, None, 1.0, 2.0, 3.0, 4.0]}, [0.5], {})

    assert (one.expression, one.rows.tolist()) == ("price < 4.0", [2, 3, 4])


def test_a_number_that_stands_for_a_missing_one_is_left_out_by_the_filter() -> None:
    [one] = selectivity.draw({"price": [None, None, 1.0, 2.0, 3.0, 4.0]}, [0.5], {"price": -1.0})

    assert (one.expression, one.rows.tolist()) == ("price < 4.0 and price != -1.0", [2, 3, 4])


def test_no_field_comes_near_a_share() -> None:
    assert selectivity.draw({"category": ["mugs"] * 10}, SHARES, {}) == []
    assert selectivity.draw({}, SHARES, {}) == []


@given(typed_columns())
def test_what_is_drawn_lets_through_what_it_says(columns: dict[str, list[object]]) -> None:
    drawn = selectivity.draw(columns, SHARES, {})  # type: ignore[arg-type]

    for one in drawn:
        match = re.fullmatch(r'(title|price) (==|<) ("[^"\'\\]*"|[-+\d.]+|true|false)', one.expression)
        assert match, one.expression
        column = columns[match[1]]
        assert len(one.rows) / len(column) == pytest.approx(one.share, rel=1.001)
        literal = {"true": True, "false": False}.get(match[3], match[3].strip('"'))
        for number, value in enumerate(column):
            if match[2] == "==" and isinstance(value, str | bool):
                assert (number in one.rows) == (value == literal)
            if match[2] == "<" and isinstance(value, float):
                assert (number in one.rows) == (value < float(match[3]))
