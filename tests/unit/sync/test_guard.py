"""How many products apps may lose at once, and when a catalog is about other products."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.sync.guard import ANY, are_other_products, guard

MASKS = st.lists(st.booleans(), max_size=60).map(lambda lost: np.array(lost, bool))


@given(lost=MASKS)
def test_four_fifths_of_the_products_must_stay_whatever_is_added(lost):
    is_too_much = 5 * int((~lost).sum()) < 4 * len(lost)
    assert bool(guard(lost, len(lost)).reason) == is_too_much
    if is_too_much:
        assert guard(lost, len(lost), found=1000).reason, "as many new products do not make up for lost ones"


@given(lost=MASKS, high_water=st.integers(0, 100), added=st.integers(0, 50))
def test_four_fifths_of_the_high_water_must_stay_too_if_anything_is_lost(lost, high_water, added):
    found = int((~lost).sum()) + added
    sinks = lost.any() and 5 * found < 4 * high_water
    exceeds = 5 * int(lost.sum()) > len(lost)
    assert bool(guard(lost, high_water, found=found).reason) == (sinks or exceeds)


@given(lost=MASKS, high_water=st.integers(0, 100))
def test_any_loss_may_be_allowed(lost, high_water):
    assert not guard(lost, high_water, ANY).reason


@given(lost=MASKS, share=st.integers(0, 100))
def test_an_allowed_share_is_exact(lost, share):
    loss = guard(lost, 0, share / 100)
    assert bool(loss.reason) == (100 * loss.lost > share * loss.served)


@pytest.mark.parametrize(("lost", "served", "too_many"), [(0, 0, False), (1, 5, False), (2, 5, True), (1, 1, True)])
def test_the_limit_itself_is_allowed(lost, served, too_many):
    assert bool(guard(np.arange(served) < lost, served).reason) == too_many


def test_a_smaller_share_than_the_default_does_not_make_the_high_water_stricter():
    one_of_100 = np.arange(100) < 1
    assert not guard(one_of_100, 120, 0.01).reason
    assert guard(one_of_100, 130, 0.01).reason.startswith("which leaves 99, fewer than 80% of the 130 ")


def test_what_only_a_flag_has_allowed_is_known():
    half = np.arange(10) < 5
    assert guard(half, 10, 0.5).needs_leave
    assert guard(np.arange(10) < 1, 20, 0.6).needs_leave
    assert not guard(np.arange(10) < 1, 10, 0.5).needs_leave


@pytest.mark.parametrize(
    ("lost", "new", "rows", "are_other"),
    [
        (300, 300, 300, True),  # every product renamed
        (300, 10, 10, True),  # a column of a few values
        (151, 151, 300, True),
        (280, 0, 20, False),  # cut
        (280, 5, 20, False),
        (0, 900, 1200, False),  # grown
        (100, 100, 300, False),
        (0, 0, 0, False),
    ],
)
def test_a_catalog_that_lacks_most_products_and_has_mostly_new_ones_is_about_others(lost, new, rows, are_other):
    assert are_other_products(np.arange(300) < lost, new, rows) == are_other


def test_a_rename_is_allowed_like_any_other_loss():
    lost = np.ones(10, bool)
    assert not are_other_products(lost, 10, 10, ANY)
    assert are_other_products(lost, 10, 10, 0.9)
