"""The store on object storage, against an S3 server that fails as it is told."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.bucket import IGNORED
from support.object_storage import BUCKET

from ingest.core.errors import ConfigError, StorageError
from ingest.runtime import remote_files as storages
from ingest.store import concurrent_shards
from ingest.store.bucket import Bucket
from ingest.store.object_storage import ObjectStorageStore

if TYPE_CHECKING:
    from pathlib import Path

    from support.object_storage import Storage

DIM = 4

pytestmark = IGNORED


@pytest.fixture
def url(request: pytest.FixtureRequest, storage: Storage) -> str:
    """A space's place of this test alone."""
    return f"s3://{BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}/space"


def keys(*names: int) -> list[bytes]:
    return [hashlib.sha256(str(name).encode()).digest() for name in names]


def vectors(*names: int) -> np.ndarray:
    rows = np.stack([np.random.default_rng(name).normal(size=DIM) for name in names])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def opened(url: str, mirror: Path) -> ObjectStorageStore:
    return ObjectStorageStore(Bucket(url), DIM, mirror)


def assert_has(store: ObjectStorageStore, *names: int) -> None:
    found = store.find(keys(*names))
    assert all(vector is not None for vector in found)
    assert np.stack(found).tobytes() == vectors(*names).tobytes()


def test_what_one_machine_puts_another_finds(url, tmp_path):
    store = opened(url, tmp_path / "a")
    store.add(keys(1, 2), vectors(1, 2))
    store.add(keys(3), vectors(3))
    assert_has(store, 3, 1, 2)
    assert store.find(keys(4)) == [None]
    other = opened(url, tmp_path / "b")
    assert other.rows == 3
    assert other.holds(keys(1, 4)) == [True, False]
    assert_has(other, 1, 2, 3)


def test_what_was_read_once_is_not_got_again(url, storage, tmp_path):
    opened(url, tmp_path).add(keys(1), vectors(1))
    assert_has(opened(url, tmp_path), 1)
    storage.requests.clear()
    assert_has(opened(url, tmp_path), 1)
    assert not [request for request in storage.requests if ".npy" in request]


def test_a_shard_without_its_keys_is_not_there_yet(url, storage, tmp_path):
    store = opened(url, tmp_path / "a")
    storage.fail(*["500"] * 99, method="PUT", part="keys.npy")
    with pytest.raises(StorageError, match=r"keys\.npy: cannot be written .*; check the storage") as raised:
        store.add(keys(1), vectors(1))
    assert "\n" not in str(raised.value)
    storage.faults.clear()
    assert opened(url, tmp_path / "b").holds(keys(1)) == [False]
    store.add(keys(1), vectors(1))
    assert_has(opened(url, tmp_path / "b"), 1)


@pytest.mark.parametrize("fault", ["500", "cut", "slow"])
@pytest.mark.parametrize("part", ["keys.npy", "embeddings.npy", "list-type"])
def test_a_fault_that_passes_is_not_noticed(url, storage, tmp_path, fault, part):
    opened(url, tmp_path / "a").add(keys(1, 2), vectors(1, 2))
    storage.fail(*([fault] if fault == "slow" else [fault, fault]), part=part)
    assert_has(opened(url, tmp_path / "b"), 1, 2)
    assert not storage.faults


@pytest.mark.parametrize("part", ["keys.npy", "embeddings.npy", "list-type"])
@pytest.mark.parametrize("fault", ["500", "cut"])
def test_a_fault_that_stays_ends_in_one_line_after_a_few_tries(url, storage, tmp_path, fault, part):
    opened(url, tmp_path / "a").add(keys(1), vectors(1))
    storage.requests.clear()
    storage.fail(*[fault] * 99, part=part)
    with pytest.raises(StorageError) as raised:
        opened(url, tmp_path / "b").find(keys(1))
    assert "\n" not in str(raised.value)
    assert url in str(raised.value)
    # keys are asked for together first, and s3fs asks once more by itself
    assert sum(part in request for request in storage.requests) <= 2 * (storages._TRIES + 1)
    storage.faults.clear()
    assert_has(opened(url, tmp_path / "b"), 1)


def test_two_writers_at_once_lose_nothing(url, tmp_path):
    one, other = opened(url, tmp_path / "a"), opened(url, tmp_path / "b")
    one.add(keys(1), vectors(1))
    other.add(keys(2), vectors(2))
    one.add(keys(3), vectors(3))
    other.add(keys(3), vectors(3))
    assert_has(opened(url, tmp_path / "c"), 1, 2, 3)


def test_a_shard_of_other_bytes_than_its_name_says_is_left_out(url, tmp_path, caplog):
    store = opened(url, tmp_path / "a")
    store.add(keys(1), vectors(1))
    name = store.shards()[0].name
    bucket = Bucket(url)
    bucket.put(f"{name}/keys.npy", bytes(bucket.list(name)["keys.npy"].size))
    assert opened(url, tmp_path / "b").holds(keys(1)) == [False]
    assert "left out, it is damaged" in caplog.text


def test_shards_become_one_under_a_reader(url, tmp_path):
    store = opened(url, tmp_path / "a")
    for name in range(4):
        store.add(keys(name), vectors(name))
    reader = opened(url, tmp_path / "b")
    store.rewrite([shard.name for shard in store.shards()], lambda found: np.ones(len(found), bool))
    assert len(store.shards()) == 1
    assert_has(reader, 0, 1, 2, 3)
    assert_has(opened(url, tmp_path / "c"), 0, 1, 2, 3)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: bytes(len(content)),
        lambda content: content[:-7],
        lambda content: b"nothing",
        lambda content: content[:140] + bytes([content[140] ^ 1]) + content[141:],  # a bit that leaves a unit vector
        lambda content: content[:128] + content[144:160] + content[128:144] + content[160:],  # two rows in turn
    ],
)
def test_a_damaged_mirror_is_repaired_from_the_storage_and_nothing_of_it_is_merged(url, tmp_path, damage):
    store = opened(url, tmp_path / "a")
    store.add(keys(1, 2), vectors(1, 2))
    store.add(keys(3), vectors(3))
    assert_has(store, 1, 2, 3)

    def damage_mirror() -> None:
        for path in (tmp_path / "a").glob("*.embeddings"):
            path.write_bytes(damage(path.read_bytes()))

    damage_mirror()
    again = opened(url, tmp_path / "a")
    assert_has(again, 1, 2, 3)
    damage_mirror()
    again.rewrite([shard.name for shard in again.shards()], lambda found: np.ones(len(found), bool))
    assert len(again.shards()) == 1
    for mirror in ("a", "b"):
        assert_has(opened(url, tmp_path / mirror), 1, 2, 3)


def test_a_vector_that_is_damaged_in_the_storage_is_put_again_and_every_machine_sees_it(url, tmp_path):
    store, other = opened(url, tmp_path / "a"), opened(url, tmp_path / "b")
    store.add(keys(1, 2), vectors(1, 2))
    store.add(keys(3), vectors(3))
    bucket, name = Bucket(url), concurrent_shards.name("space", np.frombuffer(b"".join(keys(1, 2)), np.uint8))
    concurrent_shards.put_objects(
        bucket, name, np.frombuffer(b"".join(keys(1, 2)), np.uint8).reshape(-1, 32), 2 * vectors(1, 2)
    )
    other = opened(url, tmp_path / "b")
    assert other.find(keys(1, 2)) == [None, None]
    opened(url, tmp_path / "c").add(keys(1, 2), vectors(1, 2))  # under the same name
    assert_has(opened(url, tmp_path / "b"), 1, 2, 3)
    assert_has(store, 1, 2, 3)


def test_what_is_merged_must_be_readable_before_an_original_goes(url, tmp_path, monkeypatch):
    store = opened(url, tmp_path)
    store.add(keys(1), vectors(1))
    store.add(keys(2), vectors(2))
    put = concurrent_shards.put_objects

    def put_wrong(bucket: Bucket, shard: str, packed: np.ndarray, rows: np.ndarray) -> None:
        put(bucket, shard, packed, np.roll(rows, 1, axis=0))

    with (
        monkeypatch.context() as patch,
        pytest.raises(StorageError, match="differs from what was written"),
    ):
        patch.setattr(concurrent_shards, "put_objects", put_wrong)
        store.rewrite([shard.name for shard in store.shards()], lambda found: np.ones(len(found), bool))
    assert sum(name.endswith("keys.npy") for name in Bucket(url).list()) == 2
    assert_has(opened(url, tmp_path), 1, 2)
    assert_has(store, 1, 2)


def test_two_compactions_at_once_and_a_writer_lose_nothing(url, tmp_path):
    first = opened(url, tmp_path / "a")
    for name in range(6):
        first.add(keys(name), vectors(name))
    stores = [opened(url, tmp_path / mirror) for mirror in "bcd"]
    names = [shard.name for shard in first.shards()]

    def compact(store: ObjectStorageStore, some: list[str]) -> None:
        store.rewrite(some, lambda found: np.ones(len(found), bool))

    def write(store: ObjectStorageStore) -> None:
        for name in range(6, 10):
            store.add(keys(name), vectors(name))
            assert_has(store, *range(name + 1))

    with ThreadPoolExecutor() as pool:
        running = [pool.submit(compact, stores[0], names), pool.submit(compact, stores[1], names[2:])]
        running.append(pool.submit(write, stores[2]))
        for one in running:
            one.result()
    compact(stores[0], names)  # all of them are gone
    for store in (first, *stores):
        assert_has(store, *range(6))
    assert_has(opened(url, tmp_path / "e"), *range(10))


def test_half_a_shard_is_swept_when_it_is_a_day_old(url, storage, tmp_path):
    store, bucket = opened(url, tmp_path), Bucket(url)
    store.add(keys(1), vectors(1))
    whole = set(bucket.list())
    for name in ("block-put/embeddings.npy", "block-removed/keys.npy", "notes/keys.npy", "block-more/notes.txt"):
        bucket.put(name, b"left")
    before = set(bucket.list())
    store.sweep()
    assert set(bucket.list()) == before, "somebody may be putting the other half"
    storage.age(url.removeprefix(f"s3://{BUCKET}/"), 2 * 86_400)
    bucket.put("block-young/embeddings.npy", b"begun")
    store.sweep()
    assert set(bucket.list()) - whole == {"notes/keys.npy", "block-more/notes.txt", "block-young/embeddings.npy"}
    assert_has(opened(url, tmp_path / "other"), 1)


def test_a_shard_that_is_removed_at_every_step_ends_in_one_line(url, tmp_path, monkeypatch):
    store = opened(url, tmp_path / "a")
    store.add(keys(1), vectors(1))

    def gone(*_: object) -> None:
        raise FileNotFoundError("keys.npy")

    monkeypatch.setattr(store, "_map", gone)
    with pytest.raises(StorageError, match="shards were removed as fast as they were read; let other commands"):
        store.find(keys(1))


def test_vectors_are_found_while_a_shard_is_uploaded(url, storage, tmp_path, monkeypatch):
    store = opened(url, tmp_path)
    store.add(keys(1), vectors(1))
    uploading, found = threading.Event(), threading.Event()

    def watch(request: str, _served: bool) -> bool:
        if request.startswith("PUT"):
            uploading.set()
            assert found.wait(10)
        return False

    monkeypatch.setattr(storage, "watch", watch)
    with ThreadPoolExecutor(1) as pool:
        added = pool.submit(store.add, keys(2), vectors(2))
        assert uploading.wait(10)
        assert_has(store, 1)
        found.set()
        added.result()
    assert_has(store, 1, 2)


def test_a_worker_s_shard_is_adopted(url, tmp_path):
    store = opened(url, tmp_path)
    packed = np.frombuffer(b"".join(keys(1, 2)), np.uint8).reshape(-1, 32)
    name = concurrent_shards.put(url, packed, vectors(1, 2))
    store.adopt({name: packed})
    assert_has(store, 1, 2)

    late = opened(url, tmp_path / "late")
    late.adopt({"block-of-a-worker-that-was-merged-by-now": packed})
    assert_has(late, 1, 2)


def test_the_mirror_makes_room(url, tmp_path, monkeypatch):
    monkeypatch.setattr("ingest.store.mirror.MIRROR_BYTES", 300)
    store = opened(url, tmp_path)
    for name in range(4):
        store.add(keys(name), vectors(name))
    assert_has(store, 0, 1, 2, 3)
    assert sum(path.stat().st_size for path in tmp_path.glob("*.embeddings")) <= 300


def test_a_bucket_that_is_not_there_is_told(storage, tmp_path):
    with pytest.raises(StorageError, match="there is no nowhere; create it"):
        opened("s3://nowhere/space", tmp_path)


@pytest.mark.parametrize(("place", "said"), [("nosuch://x", "Protocol not known"), ("s3://", "names no bucket")])
def test_a_place_that_cannot_be_is_told(tmp_path, place, said):
    with pytest.raises(ConfigError, match=f"--store {place}: {said}"):
        opened(place, tmp_path)


def test_a_storage_that_connects_at_once_and_cannot_is_told(tmp_path):
    with pytest.raises(StorageError, match=r"ftp://127\.0\.0\.1:1/x: cannot be reached .*; correct --store"):
        opened("ftp://127.0.0.1:1/x", tmp_path)
