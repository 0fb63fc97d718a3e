"""Maximal marginal relevance chooses what its formula says."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.search import recommend

DIM = 8


def rows_of(count: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(count, DIM))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def plainly(scores, rows, limit, balance) -> list[int]:
    """MMR as it is written in the paper, one query at a time."""
    chosen: list[int] = []
    left = list(range(len(scores)))
    while left and len(chosen) < limit:

        def worth(one: int) -> float:
            likest = max((float(rows[one] @ rows[other]) for other in chosen), default=-1.0)
            return balance * scores[one] - (1 - balance) * likest

        chosen.append(max(left, key=worth))
        left.remove(chosen[-1])
    return chosen


@given(st.integers(1, 12), st.integers(1, 6), st.floats(0, 1), st.integers(0, 99))
def test_it_chooses_what_the_formula_says(candidates, limit, balance, seed):
    rows = rows_of(candidates, seed)
    scores = (rows @ rows_of(1, seed + 1000)[0]).astype(np.float32)

    [found] = recommend.diverse(scores[None], rows[None], limit, balance)
    wanted = plainly(scores, rows, limit, balance)

    assert len(set(found.tolist())) == min(limit, candidates)
    for step, (ours, theirs) in enumerate(zip(found.tolist(), wanted, strict=True)):
        if ours != theirs:  # two of equal worth, to the last digits
            assert _worth(scores, rows, wanted[:step], ours, balance) == pytest.approx(
                _worth(scores, rows, wanted[:step], theirs, balance), abs=1e-5
            )
            break


def _worth(scores, rows, chosen, one, balance) -> float:
    likest = max((float(rows[one] @ rows[other]) for other in chosen), default=-1.0)
    return balance * float(scores[one]) - (1 - balance) * likest


def test_likeness_alone_is_the_order_of_scores_and_what_is_not_there_comes_last():
    scores = np.array([[0.1, -np.inf, 0.9, 0.5]], np.float32)
    assert recommend.diverse(scores, rows_of(4)[None], 4, 1.0).tolist() == [[2, 3, 0, 1]]
    assert recommend.diverse(scores, rows_of(4)[None], 4, 0.0)[0][-1] == 1


def test_ten_colours_of_one_mug_are_not_ten_recommendations():
    mug, lamp = np.eye(DIM, dtype=np.float32)[:2]
    rows = np.stack([mug, mug, mug, lamp])
    scores = np.array([[0.9, 0.9, 0.9, 0.6]], np.float32)
    assert recommend.diverse(scores, rows[None], 2, 0.5).tolist() == [[0, 3]]
