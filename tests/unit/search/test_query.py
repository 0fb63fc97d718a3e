"""A query becomes one unit vector: the weighted sum of its parts, or a reason why there is none."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ingest.core.errors import QueryError
from ingest.core.settings import Settings
from ingest.search.query import Query, QueryModel, combine, vectors

directions = arrays(np.float64, (3, 8), elements=st.floats(-1, 1)).filter(
    lambda rows: bool((np.linalg.norm(rows, axis=1) > 0.1).all())
)
weights = st.lists(st.floats(0.05, 10), min_size=3, max_size=3)


def unit(row) -> np.ndarray:
    return (row / np.linalg.norm(row)).astype(np.float32)


@given(directions, weights)
def test_a_mixture_is_the_weighted_sum_at_unit_length(rows, sizes):
    parts = [(unit(row), size) for row, size in zip(rows, sizes, strict=True)]
    total = sum(size * row.astype(np.float64) for row, size in parts)
    if np.linalg.norm(total) < 1e-3:
        return

    found = combine(parts)

    assert found.dtype == np.float32
    assert found == pytest.approx(total / np.linalg.norm(total), abs=1e-5)


@given(directions, weights, st.floats(0.1, 100))
def test_only_the_ratio_of_weights_counts(rows, sizes, factor):
    parts = [(unit(row), size) for row, size in zip(rows, sizes, strict=True)]
    try:
        before = combine(parts)
    except QueryError:
        return
    after = combine([(row, size * factor) for row, size in parts])
    assert after == pytest.approx(before, abs=1e-4)


def test_one_part_is_itself_whatever_its_weight():
    row = unit(np.arange(1.0, 9.0))
    assert combine([(row, 0.3)]) == pytest.approx(row, abs=1e-7)


def test_a_weight_below_zero_leads_away():
    along, across = np.eye(2, dtype=np.float32)
    assert combine([(along, 1.0), (across, -1.0)]) == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5)])


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ([], "the query is empty"),
        ([(1, 0.0)], "has no direction"),
        ([(1, 1.0), (1, -1.0)], "has no direction"),
        ([(1, math.nan)], "finite"),
        ([(1, math.inf)], "finite"),
        ([(math.nan, 1.0)], "no usable vector"),
    ],
)
def test_what_has_no_direction_is_refused(parts, words):
    rows = [(np.array([first, 0], np.float32), weight) for first, weight in parts]
    with pytest.raises(QueryError, match=words):
        combine(rows)


def test_products_alone_need_no_model():
    rows = {"a": np.array([1, 0], np.float32), "b": np.array([0, 1], np.float32)}
    asked: list[list[str]] = []

    def find(product_ids):
        asked.append(list(product_ids))
        return rows

    model = QueryModel(Settings(model="./nowhere"))
    found = vectors([Query(product_id="a"), Query(product_id="b"), Query(product_id="a")], model, find)

    assert asked == [["a", "b"]], "one call for all, each product once"
    assert [list(row) for row in found] == [[1, 0], [0, 1], [1, 0]]
    assert not Query(product_id="a").needs_model
    assert Query(text="mug").needs_model
    assert Query(image=b"").needs_model
