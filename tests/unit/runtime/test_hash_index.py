"""The hash index against a dictionary."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.runtime.hash_index import ABSENT, HashIndex, pack_keys

# Few heads and few endings: many keys share their first 8 bytes, and many come twice.
KEYS = st.builds(
    lambda head, middle, tail: bytes([head] * 8) + bytes(22) + bytes([middle, tail]),
    st.sampled_from([0, 1, 127, 128, 255]),
    st.integers(0, 1),
    st.integers(0, 3),
)
BATCHES = st.lists(st.lists(st.tuples(KEYS, st.integers(0, 2**62)), max_size=8), max_size=12)


def packed(batch: list[tuple[bytes, int]]) -> tuple[np.ndarray, np.ndarray]:
    return pack_keys([key for key, _ in batch], 32), np.array([row for _, row in batch], np.int64)


@given(batches=BATCHES, asked=st.lists(KEYS, max_size=20))
def test_of_a_key_that_is_put_again_the_last_row_counts(batches, asked):
    index, model = HashIndex(32), {}
    for batch in batches:
        index.put(*packed(batch))
        model.update(batch)
        assert index.find(pack_keys(asked, 32)).tolist() == [model.get(key, ABSENT) for key in asked]
    assert len(index) == len(model)
    assert index.find(pack_keys(list(model), 32)).tolist() == list(model.values())


@given(batches=BATCHES, asked=st.lists(KEYS, max_size=20))
def test_of_a_key_that_is_added_again_the_first_row_counts(batches, asked):
    index, model = HashIndex(32), {}
    for batch in batches:
        expected = [model.setdefault(key, row) for key, row in batch]
        assert index.add(*packed(batch)).tolist() == expected
        assert index.find(pack_keys(asked, 32)).tolist() == [model.get(key, ABSENT) for key in asked]
    assert len(index) == len(model)


@given(batches=BATCHES, asked=st.lists(KEYS, max_size=20))
def test_its_arrays_make_an_equal_index(batches, asked):
    index = HashIndex(32)
    for batch in batches:
        index.put(*packed(batch))
    arrays = index.sorted_keys()

    assert HashIndex.of(arrays).find(pack_keys(asked, 32)).tolist() == index.find(pack_keys(asked, 32)).tolist()
    assert {key.tobytes() for key in arrays.keys} == {key for batch in batches for key, _ in batch}


@pytest.mark.parametrize("size", [8, 16, 32])
def test_keys_of_any_size_are_found_after_many_merges(size):
    many = np.random.default_rng(0).integers(0, 256, (20_000, size), dtype=np.uint8)
    index = HashIndex(size)
    for start in range(0, len(many), 97):
        index.add(many[start : start + 97], np.arange(start, min(start + 97, len(many))))

    assert index.find(many).tolist() == list(range(len(many)))
    assert (index.find(many[:, ::-1]) == ABSENT).all()


def test_an_empty_index_finds_nothing_and_may_be_asked_for_nothing():
    assert HashIndex(32).find(pack_keys([], 32)).tolist() == []
    assert HashIndex(32).find(pack_keys([bytes(32)], 32)).tolist() == [ABSENT]
    assert len(HashIndex.of(HashIndex(16).sorted_keys())) == 0


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_key_takes_8_bytes_more_than_it_has(size):
    many = np.random.default_rng(0).integers(0, 256, (200_000, size), dtype=np.uint8)
    tracemalloc.start()
    index = HashIndex(size)
    for start in range(0, len(many), 1000):
        index.put(many[start : start + 1000], np.arange(start, start + 1000))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held / len(many) <= size + 8 + 1
