"""Columns that fit are shown whole; where they do not, the widest are cut and the last are left out."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.cli.output.column_widths import GAP, Column, fit

columns = st.lists(
    st.tuples(st.integers(1, 60), st.integers(1, 60)).map(lambda two: Column("c", max(two), min(two))), min_size=1
)


@given(columns, st.integers(1, 300))
def test_a_table_is_never_wider_than_the_terminal_if_its_first_column_is_not(some: list[Column], width: int) -> None:
    widths, left_out = fit(some, width)

    assert len(widths) + len(left_out) == len(some)
    assert all(one.least <= got <= one.natural for one, got in zip(some, widths, strict=False))
    assert sum(widths) + GAP * (len(widths) - 1) <= width or len(widths) == 1


@given(columns)
def test_a_table_that_has_room_is_shown_whole(some: list[Column]) -> None:
    room = sum(one.natural for one in some) + GAP * (len(some) - 1)

    assert fit(some, room) == ([one.natural for one in some], [])


def test_the_widest_column_is_cut_and_numbers_stay_whole() -> None:
    some = [Column("score", 5, 5), Column("product_id", 10, 10), Column("title", 48, 8), Column("brand", 20, 8)]

    assert fit(some, 60) == ([5, 10, 19, 20], [])
    assert fit(some, 40) == ([5, 10, 9, 10], [])
    assert fit(some, 30) == ([5, 10, 11], ["brand"])
