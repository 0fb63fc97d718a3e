"""A store that is only read: what is added to it is found, and is not in the store beneath."""

from __future__ import annotations

import numpy as np
import pytest

from ingest.store.local import LocalStore
from ingest.store.overlay import OverlayStore

DIM = 4


def keys(*numbers: int) -> list[bytes]:
    return [number.to_bytes(32) for number in numbers]


@pytest.fixture
def below(tmp_path):
    store = LocalStore(tmp_path / "below", DIM)
    store.add(keys(1, 2), np.eye(2, DIM, dtype=np.float32))
    return store


@pytest.fixture
def layered(below, tmp_path):
    return OverlayStore(below, LocalStore(tmp_path / "above", DIM))


def test_what_is_added_is_found_with_what_is_beneath(below, layered) -> None:
    layered.add(keys(3), np.eye(3, DIM, dtype=np.float32)[2:])

    sound, vectors = layered.take(keys(3, 9, 1))

    assert sound.tolist() == [True, False, True]
    assert vectors.tolist() == [[0, 0, 1, 0], [1, 0, 0, 0]]
    assert [vector is None for vector in layered.find(keys(3, 9, 1))] == [False, True, False]
    assert layered.holds(keys(3, 9, 1)) == [True, False, True]
    assert layered.rows == 3
    assert below.holds(keys(3)) == [False]


def test_before_anything_is_added_it_is_the_store_beneath(below, layered, tmp_path) -> None:
    assert layered.take(keys(2, 3))[0].tolist() == below.take(keys(2, 3))[0].tolist() == [True, False]
    assert (layered.dim, layered.min_shard_rows, layered.rows, layered.shards()) == (DIM, below.min_shard_rows, 2, [])
    assert not (tmp_path / "above").exists()
