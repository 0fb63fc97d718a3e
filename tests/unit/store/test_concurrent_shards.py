"""Shards that many processes write at once to one folder."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from support.synced import noting_fsync

from ingest.store import concurrent_shards
from ingest.store.local import LocalStore

DIM = 4


def packed(*names: int) -> np.ndarray:
    digests = [hashlib.sha256(str(name).encode()).digest() for name in names]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)


def rows(count: int) -> np.ndarray:
    return np.eye(DIM, dtype=np.float32)[:count]


def test_a_name_says_the_keys_their_order_and_the_space():
    names = {
        concurrent_shards.name("a", packed(1, 2)),
        concurrent_shards.name("a", packed(2, 1)),
        concurrent_shards.name("b", packed(1, 2)),
    }
    assert len(names) == 3
    assert concurrent_shards.name("a", packed(1, 2)) in names


def test_many_writers_of_the_same_and_of_other_shards_lose_nothing(tmp_path):
    place = str(tmp_path / "space")
    with ThreadPoolExecutor(8) as pool:
        names = list(pool.map(lambda n: concurrent_shards.put(place, packed(n % 10), rows(1)), range(80)))
    store = LocalStore(tmp_path / "space", DIM)
    assert len(set(names)) == store.rows == 10
    assert not list((tmp_path / "space").glob(".*"))


def test_a_damaged_shard_goes_when_another_process_has_written_its_keys_anew(tmp_path, caplog):
    place = str(tmp_path / "space")
    broken = concurrent_shards.put(place, packed(1, 2), rows(2))
    (tmp_path / "space" / broken / "embeddings.npy").write_bytes(b"")
    store = LocalStore(tmp_path / "space", DIM)
    assert "left out" in caplog.text
    store.adopt({concurrent_shards.put(place, packed(2, 1), rows(2)): packed(2, 1)})
    assert store.holds([bytes(key) for key in packed(1, 2)]) == [True, True]
    caplog.clear()
    assert LocalStore(tmp_path / "space", DIM).rows == 2
    assert caplog.messages == []


def test_a_vector_that_was_damaged_is_healed_by_the_numbered_shard(tmp_path):
    key = packed(1)
    concurrent_shards.put(str(tmp_path / "space"), key, np.zeros((1, DIM), np.float32))
    store = LocalStore(tmp_path / "space", DIM)
    assert store.find([bytes(key[0])]) == [None]
    store.add([bytes(key[0])], rows(1))
    assert LocalStore(tmp_path / "space", DIM).find([bytes(key[0])])[0].tolist() == rows(1)[0].tolist()


def test_a_name_stays_the_same_from_version_to_version(tmp_path):
    """Another name for the same keys would make every shard of an existing store count as damaged."""
    expected = "block-" + hashlib.sha256(b"space\n" + packed(1, 2).tobytes()).hexdigest()[:32]
    assert concurrent_shards.name("space", packed(1, 2)) == expected
    assert concurrent_shards.put(f"{tmp_path}/space/", packed(1, 2), rows(2)) == expected


def test_both_files_and_the_names_of_a_shard_are_fsynced(tmp_path):
    with noting_fsync() as synced:
        shard = tmp_path / "space" / concurrent_shards.put(str(tmp_path / "space"), packed(1), rows(1))
    for path in (shard / "keys.npy", shard / "embeddings.npy"):
        assert synced[path.stat().st_ino] == path.stat().st_size
    assert {shard.stat().st_ino, shard.parent.stat().st_ino} <= synced.keys()
