"""Answers that name a product once: on an exhaustive search, what the best of each product's images gives."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ingest.search import fold
from ingest.search.backend import Hit

ROWS = st.lists(st.tuples(st.integers(0, 8), st.sampled_from(["", "a", "b", "c"]), st.integers(0, 10_000)), max_size=60)


class Exhaustive:
    """A search that looks at every row, best first; with `filters` it leaves out what was found."""

    def __init__(self, rows, field, *, filters):
        self.hits = sorted(
            (Hit(f"P{name}", score / 10_000, {"item": item}) for name, item, score in rows), key=lambda hit: -hit.score
        )
        self.field = field
        self.filters = filters
        self.calls = 0

    def __call__(self, count, keys=()):
        self.calls += 1
        left = [hit for hit in self.hits if not self.filters or fold.key_of(hit, self.field) not in keys]
        return left[:count]


def best_of_each(rows, field):
    best = {}
    for hit in Exhaustive(rows, field, filters=False).hits:
        best.setdefault(fold.key_of(hit, field), hit)
    return list(best.values())


@given(rows=ROWS, limit=st.integers(1, 12), asked=st.integers(1, 70), most=st.integers(60, 80),
       field=st.sampled_from(["", "item"]), filters=st.booleans())  # fmt: skip
def test_an_exhaustive_search_gives_the_maximum_over_each_products_images(rows, limit, asked, most, field, filters):
    search = Exhaustive(rows, field, filters=filters)
    found = fold.fold(search(asked), asked, limit, most, field, search)
    expected = best_of_each(rows, field)[:limit]
    assert [hit.score for hit in found] == [hit.score for hit in expected]
    keys = [fold.key_of(hit, field) for hit in found]
    assert len(set(keys)) == len(keys)
    if len({hit.score for hit in search.hits}) == len(search.hits):
        assert found == expected
    assert search.calls <= 60


def test_one_call_is_enough_unless_one_product_fills_the_answer():
    rows = [(0, "", 10_000 - number) for number in range(500)] + [(number, "", number) for number in range(1, 9)]
    search = Exhaustive(rows, "", filters=True)
    asked = fold.first_count(5)
    assert [hit.product_id for hit in fold.fold(search(asked), asked, 5, 16_384, "", search)] == [
        "P0", "P8", "P7", "P6", "P5",
    ]  # fmt: skip
    assert search.calls == 2


def test_a_search_that_finds_nothing_new_ends():
    hit = Hit("P1", 1.0, {})
    assert fold.fold([hit] * 10, 10, 5, 100, "", lambda count, _: [hit] * count) == [hit]


def test_products_without_a_value_are_items_of_their_own():
    hits = [Hit("P1", 0.9, {"item": ""}), Hit("P2", 0.8, {"item": None}), Hit("P3", 0.7, {})]
    assert fold.fold(hits, 5, 5, 100, "item", lambda *_: []) == hits
    keys = [("item", "a"), ("", "P1"), ("item", "b")]
    assert (fold.values_of(keys, "item"), fold.values_of(keys, "")) == (["a", "b"], ["P1"])
