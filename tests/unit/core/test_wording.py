"""Counts agree with their noun, small scores are no negative zeros, and times have no microseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.core import wording


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 rows"), (1, "1 row"), (2, "2 rows"), (1_234_567, "1,234,567 rows")]
)
def test_a_count_agrees_with_its_noun(number: int, shown: str) -> None:
    assert wording.quantity(number, "row") == shown


def test_a_plural_that_is_no_s_is_given() -> None:
    assert [wording.quantity(number, "row is", "rows are") for number in (1, 3)] == ["1 row is", "3 rows are"]


@given(st.floats(-1, 1))
def test_a_score_has_three_places_and_a_sign_only_if_it_is_not_zero(value: float) -> None:
    shown = wording.score(value)

    assert re.fullmatch(r"-?[01]\.\d{3}", shown)
    assert abs(float(shown) - value) <= 0.0005 + 1e-9
    assert shown != "-0.000"


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (1023, "1,023 B"), (1024, "1.0 KiB"), (5 * 2**20, "5.0 MiB"), (3 * 2**50, "3,072.0 TiB")],
)
def test_a_size_has_the_unit_that_suits_it(number: int, shown: str) -> None:
    assert wording.size(number) == shown


@given(st.datetimes(timezones=st.just(UTC)))
def test_a_time_is_shown_to_the_minute(time: datetime) -> None:
    assert wording.minute(time.isoformat()) == f"{time.isoformat(sep=' ')[:16]} UTC"


@pytest.mark.parametrize("text", ["", "soon", "2026-11-28T05:01:29"])
def test_a_text_that_is_no_time_of_a_zone_is_shown_as_it_is(text: str) -> None:
    assert wording.minute(text) == text


def test_another_zone_is_shown_in_utc() -> None:
    assert wording.minute("2026-11-28T00:30:00.123456+01:00") == "2026-11-27 23:30 UTC"
