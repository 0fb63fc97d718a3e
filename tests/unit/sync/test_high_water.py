"""The most that was found in the last seven runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sync.high_water import RUNS, HighWater

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=30)


@given(counts=COUNTS)
def test_it_is_the_most_of_the_last_seven_runs(counts):
    high_water = HighWater()
    for count in counts:
        high_water = HighWater.parse(high_water.add(count, count).to_json())
    assert high_water.most(0) == max(counts[-RUNS:])
    assert len(high_water.figures) <= RUNS


@given(counts=COUNTS)
def test_as_many_as_ever_changes_nothing(counts):
    high_water = HighWater()
    for count in counts:
        high_water = high_water.add(count, count)
    assert high_water.add(high_water.most(0), 0).figures == (high_water.most(0),)


def test_what_was_before_a_run_counts():
    assert HighWater().add(300, 250).most(250) == 300
    assert HighWater().most(300) == 300


def test_seven_runs_with_fewer_forget_the_most_and_a_flag_forgets_it_at_once():
    high_water = HighWater().add(300, 250)
    for _ in range(RUNS - 1):
        high_water = high_water.add(250, 250)
        assert high_water.most(250) == 300
    assert high_water.add(250, 250).figures == (250,)
    assert HighWater().add(300, 250).add(250, 200, is_allowed=True).figures == (200,)


@pytest.mark.parametrize(
    "text", ["", "300", "{}", "[", '["300"]', "[1.5]", "[-1]", "[true]", "null", "[" * 100_000, "[NaN]"]
)
def test_anything_else_counts_as_unknown(text):
    assert HighWater.parse(text) == HighWater()
    assert HighWater.parse(text).most(7) == 7


def test_it_looks_back_seven_runs():
    high_water = HighWater().add(9, 9)
    for _ in range(6):
        high_water = high_water.add(1, 1)
    assert high_water.most(0) == 9
    assert high_water.add(1, 1).most(0) == 1


def test_nothing_found_is_a_figure_too():
    assert HighWater.parse("[0]").figures == (0,)
