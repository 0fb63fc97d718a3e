"""JSON for digests: what is written for many rows at once is what the json module writes for each."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from ingest.core import canonical_json

texts = st.text(st.characters(), max_size=8)  # halves of surrogate pairs, too
scalars = st.one_of(texts, st.integers(), st.floats(), st.booleans())


def plain(row: dict[str, object]) -> str:
    return json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


@st.composite
def rows_alike(draw):
    """Rows of the same keys in any order, of one type in a column or of several."""
    names = draw(st.lists(texts, unique=True, max_size=4))
    kinds = {name: draw(st.sampled_from([texts, st.integers(), st.floats(), st.booleans(), scalars])) for name in names}
    orders = draw(st.lists(st.permutations(names), max_size=5))
    return [{name: draw(kinds[name]) for name in order} for order in orders]


@given(st.one_of(rows_alike(), st.lists(st.dictionaries(texts, scalars, max_size=3), max_size=4)))
def test_rows_at_once_are_what_each_is_alone(rows):
    assert (
        list(canonical_json.encode_rows(rows))
        == [plain(row) for row in rows]
        == [canonical_json.encode(row) for row in rows]
    )


def test_values_that_only_look_like_text_or_numbers_are_written_as_json_does():
    class Text(str):
        __slots__ = ()

    rows = [{"a": Text("é"), "b": None, "c": [1, "%s"]}, {"a": "%s", "b": float("nan"), "c": {"z": 1, "y": 2}}]
    assert list(canonical_json.encode_rows(rows)) == [plain(row) for row in rows]
