"""What a catalog looks like, kept from run to run, and what a change of it means."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.catalog.profile import CatalogProfile, differences, parse_profile

LAST = CatalogProfile(
    "product_id", ("product_id", "image", "title"), "CSV, LF", "UTF-8", final_newline=True, short_rows=0, rows=600,
    read="2026-11-26",
)  # fmt: skip

names = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
profiles = st.builds(
    CatalogProfile,
    names, st.lists(names, max_size=4, unique=True).map(tuple), st.sampled_from(["CSV, LF", "TSV, CR LF", "Parquet"]),
    st.sampled_from(["UTF-8", ""]), st.booleans(), st.integers(0, 9), st.integers(0, 10**9), st.just("2026-11-26"),
)  # fmt: skip


@given(profiles)
def test_a_profile_is_read_back_as_it_was_kept_and_does_not_differ_from_itself(profile):
    assert parse_profile(profile.to_json()) == profile
    assert differences(profile, profile) == []
    assert profile.says_same(replace(profile, read="2027-01-01"))
    assert not profile.says_same(replace(profile, rows=profile.rows + 1))


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", "7", '"x"', "[" * 100_000, "{}", '{"version": 2}', '{"version": 1}',
     LAST.to_json().replace("600", '"600"'),
     LAST.to_json().replace('"image"', "7"), LAST.to_json().replace("true", "1")],
)  # fmt: skip
def test_a_property_that_is_absent_or_broken_is_no_profile(text):
    assert parse_profile(text) is None


def test_without_a_last_profile_nothing_is_judged():
    assert differences(None, LAST) == []


@pytest.mark.parametrize(
    ("changes", "words", "blocks"),
    [
        ({"id_column": "sku"}, "the id column was 'product_id' and is 'sku'", True),
        ({"dialect": "CSV, CR LF"}, "the format was 'CSV, LF' and is 'CSV, CR LF'", True),
        ({"encoding": "UTF-8 with a byte order mark"}, "the encoding was 'UTF-8' and is", True),
        ({"final_newline": False}, "the last line has no line end any more", True),
        ({"columns": ("product_id", "image")}, "the column 'title' is gone", True),
        ({"columns": ("product_id", "image", "title", "price")}, "the column 'price' is new", False),
        ({"columns": ("product_id", "title", "image")}, None, False),
        ({"columns": ("product_id", "image"), "rare": frozenset({"title"})}, None, False),
        ({"rows": 1}, None, False),
    ],
)
def test_a_change_is_named_and_blocks_deleting_if_rows_may_look_gone(changes, words, blocks):
    found = differences(LAST, replace(LAST, **changes))
    assert [change.blocks for change in found] == ([blocks] if words else [])
    assert not words or words in found[0].words


def test_a_renamed_column_is_one_that_is_gone_and_one_that_is_new():
    found = differences(LAST, replace(LAST, columns=("product_id", "image", "name")))
    assert [(change.words, change.blocks) for change in found] == [
        ("the column 'title' is gone", True), ("the column 'name' is new", False),
    ]  # fmt: skip
