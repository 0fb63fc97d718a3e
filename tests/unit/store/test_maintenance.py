"""Merging shards, dropping what is unused, and what a listing says."""

from __future__ import annotations

import hashlib
import os
import time

import numpy as np
import pytest

from ingest.store import concurrent_shards, maintenance
from ingest.store.base import Shard
from ingest.store.local import LocalStore

DIM = 4


def keys(*names: int) -> list[bytes]:
    return [hashlib.sha256(str(name).encode()).digest() for name in names]


def vectors(count: int) -> np.ndarray:
    return np.eye(DIM, dtype=np.float32)[np.arange(count) % DIM]


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "space", DIM)
    for name in range(0, 12, 3):
        store.add(keys(name, name + 1, name + 2), vectors(3))
    return store


def age(store: LocalStore, seconds: float) -> None:
    for path in store.folder.glob("*/keys.npy"):
        os.utime(path, (time.time() - seconds,) * 2)


def test_small_shards_are_grouped_up_to_the_size_and_large_ones_left_alone():
    shards = [Shard(str(number), 1, size, number) for number, size in enumerate([10, 60, 40, 40, 30, 10, 90])]
    assert maintenance.groups(shards, 100) == [["0", "2", "3"], ["4", "5"]]


def test_compaction_keeps_every_vector_also_for_a_reader(store):
    reader = LocalStore(store.folder, DIM)
    maintenance.compact(store, maintenance.groups(store.shards()))
    assert len(store.shards()) == 1
    for one in (store, reader, LocalStore(store.folder, DIM)):
        assert [vector.tolist() for vector in one.find(keys(*range(12)))] == np.tile(vectors(3), (4, 1)).tolist()


def test_named_shards_are_merged_with_numbered_ones(store):
    packed = np.frombuffer(b"".join(keys(20, 21)), np.uint8).reshape(-1, 32)
    store.adopt(concurrent_shards.put(str(store.folder), packed, vectors(2)))
    maintenance.compact(store, maintenance.groups(store.shards()))
    again = LocalStore(store.folder, DIM)
    assert (len(again.shards()), again.rows) == (1, 14)
    assert all(again.holds(keys(20, 21, 0)))


def test_what_nobody_wants_goes_after_the_grace_period(store):
    unused = maintenance.UnusedVectors(store, keys(0, 4), 3600)
    assert (unused.count(), unused.young, unused.drop()) == (10, 12, 0)
    age(store, 7200)
    unused = maintenance.UnusedVectors(store, keys(0, 4), 3600)
    assert (unused.count(), unused.young, unused.drop()) == (10, 0, 10)
    for one in (store, LocalStore(store.folder, DIM)):
        assert one.holds(keys(*range(12))) == [number in (0, 4) for number in range(12)]
        assert all(vector is not None for vector in one.find(keys(0, 4)))


def test_a_listing_tells_rows_and_dim(store, tmp_path):
    (space,) = maintenance.spaces(str(tmp_path), {"space": "a model"})
    assert (space.fingerprint, space.model, space.shards, space.rows, space.dim) == ("space", "a model", 4, 12, DIM)
    assert maintenance.spaces(str(tmp_path / "nothing"), {}) == []
