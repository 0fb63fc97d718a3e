"""The index of keys against a dictionary."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.store import key_index
from ingest.store.key_index import ABSENT, KEY_BYTES, KeyIndex

# Few prefixes and few endings: many keys share their first 8 bytes, and many come twice.
KEYS = st.builds(
    lambda head, middle, tail: bytes([head] * 8) + bytes(22) + bytes([middle, tail]),
    st.sampled_from([0, 1, 127, 128, 255]),
    st.integers(0, 1),
    st.integers(0, 3),
)
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.integers(0, 2**62)), max_size=8), max_size=12)


def packed(some: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(some), np.uint8).reshape(-1, KEY_BYTES)


@given(batches=BATCHES, asked=st.lists(KEYS, max_size=20), fold_at=st.sampled_from([1, 3, 1000]))
def test_it_finds_what_a_dictionary_finds(batches, asked, fold_at):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(key_index, "_FOLD_AT", fold_at)
        index, model = KeyIndex(), {}
        for batch in batches:
            index.put(packed([key for key, _ in batch]), np.array([place for _, place in batch], np.int64))
            model.update(batch)
            assert index.find(asked).tolist() == [model.get(key, ABSENT) for key in asked]
        everything = list(model)
        assert index.find(everything).tolist() == list(model.values())


def test_a_key_that_comes_again_moves_and_the_others_stay(monkeypatch):
    monkeypatch.setattr(key_index, "_FOLD_AT", 2)
    index = KeyIndex()
    first, second, third = (bytes([number]) * KEY_BYTES for number in (1, 2, 3))
    index.put(packed([first, second]), np.array([10, 20], np.int64))
    index.put(packed([third, first]), np.array([30, 11], np.int64))
    assert index.find([first, second, third]).tolist() == [11, 20, 30]


def test_an_empty_index_holds_nothing_and_nothing_is_asked_of_it():
    assert KeyIndex().find([]).tolist() == []
    assert KeyIndex().find([bytes(32)]).tolist() == [ABSENT]


def test_a_hundred_thousand_random_keys_are_found_after_folding():
    rng = np.random.default_rng(0)
    many = rng.integers(0, 256, (100_000, KEY_BYTES), dtype=np.uint8)
    index = KeyIndex()
    for start in range(0, len(many), 20_000):
        index.put(many[start : start + 20_000], np.arange(start, start + 20_000, dtype=np.int64))
    some = rng.integers(0, len(many), 500)
    assert index.find([many[row].tobytes() for row in some]).tolist() == some.tolist()
    others = rng.integers(0, 256, (500, KEY_BYTES), dtype=np.uint8)
    assert (index.find([row.tobytes() for row in others]) == ABSENT).all()
