"""Merging shards, dropping what is unused, and what a listing says."""

from __future__ import annotations

import hashlib
import os
import time

import numpy as np
import pytest

from ingest.store import base, concurrent_shards, maintenance
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
    store.adopt({concurrent_shards.put(str(store.folder), packed, vectors(2)): packed})
    maintenance.compact(store, maintenance.groups(store.shards()))
    again = LocalStore(store.folder, DIM)
    assert (len(again.shards()), again.rows) == (1, 14)
    assert all(again.holds(keys(20, 21, 0)))


def test_what_nobody_wants_goes_after_the_grace_period(store, tmp_path):
    trash = LocalStore(tmp_path / "trash", DIM)
    unused = maintenance.UnusedVectors(store, keys(0, 4), 3600)
    assert (unused.count(), unused.young, unused.move_to(trash)) == (10, 12, 0)
    age(store, 7200)
    unused = maintenance.UnusedVectors(store, keys(0, 4), 3600)
    assert (unused.count(), unused.young, unused.move_to(trash)) == (10, 0, 10)
    for one in (store, LocalStore(store.folder, DIM)):
        assert one.holds(keys(*range(12))) == [number in (0, 4) for number in range(12)]
        assert all(vector is not None for vector in one.find(keys(0, 4)))


def test_what_was_dropped_comes_back_and_goes_for_good_when_it_is_old(store, tmp_path):
    before = [vector.tolist() for vector in store.find(keys(*range(12)))]
    trash = LocalStore(tmp_path / "trash", DIM)
    maintenance.UnusedVectors(store, keys(0), 0).move_to(trash)
    assert sum(store.holds(keys(*range(12)))) == 1
    assert maintenance.restore(store, LocalStore(tmp_path / "trash", DIM)) == 11
    assert [vector.tolist() for vector in LocalStore(store.folder, DIM).find(keys(*range(12)))] == before
    trash = LocalStore(tmp_path / "trash", DIM)
    assert trash.rows == 0

    maintenance.UnusedVectors(store, keys(0), 0).move_to(trash)
    assert maintenance.empty(trash, maintenance.older(trash, 3600)) == 0
    age(trash, 7200)
    assert maintenance.empty(trash, maintenance.older(trash, 3600)) == 11
    assert maintenance.restore(store, trash) == 0


def test_a_kill_between_the_trash_and_the_shards_loses_nothing(store, tmp_path, monkeypatch):
    def die(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "rewrite", die)
        maintenance.UnusedVectors(store, keys(0), 0).move_to(LocalStore(tmp_path / "trash", DIM))
    assert all(LocalStore(store.folder, DIM).holds(keys(*range(12))))
    trash = LocalStore(tmp_path / "trash", DIM)
    assert maintenance.UnusedVectors(store, keys(0), 0).move_to(trash) == 11
    assert maintenance.restore(store, trash) == 11


def test_a_wrong_vector_is_forgotten_in_every_copy(store):
    store.add(keys(0), vectors(1))
    maintenance.forget(store, keys(0, 99))
    assert LocalStore(store.folder, DIM).holds(keys(*range(12))) == [False] + 11 * [True]


def test_a_damaged_vector_is_not_merged_and_an_older_sound_one_takes_its_place(store):
    right = store.find(keys(*range(12)))
    store.add(keys(0), vectors(1))
    newest = max(store.folder.glob("[0-9]*"))
    for shard, row in ((newest, 0), (newest.with_name("00000002"), 1)):
        rows = np.load(shard / "embeddings.npy")
        rows[row] = np.nan
        np.save(shard / "embeddings.npy", rows)
    store = LocalStore(store.folder, DIM)
    maintenance.compact(store, maintenance.groups(store.shards()))
    for one in (store, LocalStore(store.folder, DIM)):
        assert len(one.shards()) == 1
        found = one.find(keys(*range(12)))
        assert [at for at in range(12) if found[at] is None] == [4]
        assert all((found[at] == right[at]).all() for at in range(12) if at != 4)
        assert one.holds(keys(4)) == [False]


def test_a_merged_shard_has_a_limit_and_a_larger_one_is_read(monkeypatch):
    monkeypatch.setattr(maintenance, "MAX_SHARD_ROWS", 100)
    shards = [Shard(str(number), rows, 10, number) for number, rows in enumerate([60, 60, 40, 101, 10])]
    assert maintenance.groups(shards) == [["1", "2"]]
    with pytest.raises(ValueError, match="too many for a shard"):
        base.check_rows(base.MAX_SHARD_ROWS + 1)


def test_a_listing_tells_rows_and_dim(store, tmp_path):
    (space,) = maintenance.spaces(str(tmp_path), {"space": "a model"})
    assert (space.fingerprint, space.model, space.shards, space.rows, space.dim) == ("space", "a model", 4, 12, DIM)
    assert maintenance.spaces(str(tmp_path / "nothing"), {}) == []
