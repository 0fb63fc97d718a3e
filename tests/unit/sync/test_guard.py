"""How many products may be lost at once."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sync.guard import loses_too_many

IDS = st.sets(st.text(max_size=3), max_size=60)


@given(served=IDS, data=st.data())
def test_less_than_four_fifths_left_is_too_few_and_four_fifths_is_not(served, data):
    lost = data.draw(st.sets(st.sampled_from(sorted(served)))) if served else set()
    assert loses_too_many(lost, served, allowed=False) == (5 * len(served - lost) < 4 * len(served))


@given(served=IDS)
def test_whatever_is_allowed_is_not_too_much(served):
    assert not loses_too_many(served, served, allowed=True)


@pytest.mark.parametrize(("lost", "served", "too_many"), [(0, 0, False), (1, 5, False), (2, 5, True), (1, 1, True)])
def test_the_limit_itself_is_allowed(lost, served, too_many):
    ids = [str(number) for number in range(served)]
    assert loses_too_many(ids[:lost], ids, allowed=False) == too_many
