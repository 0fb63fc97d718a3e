"""Vectors read by a process that has only the index of the store."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.bucket import IGNORED
from support.object_storage import BUCKET

from ingest.runtime.hash_index import pack_keys
from ingest.store import concurrent_shards
from ingest.store.base import KEY_BYTES
from ingest.store.bucket import Bucket
from ingest.store.local import LocalStore
from ingest.store.object_storage import ObjectStorageStore
from ingest.store.shared_vectors import SharedVectors

if TYPE_CHECKING:
    from ingest.store.base import EmbeddingStore

DIM = 4

pytestmark = IGNORED


def keys(*names: int) -> list[bytes]:
    return [hashlib.sha256(str(name).encode()).digest() for name in names]


def vectors(*names: int) -> np.ndarray:
    rows = np.stack([np.random.default_rng(name).normal(size=DIM) for name in names])
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def put(place: str, *names: int) -> str:
    return concurrent_shards.put(place, pack_keys(keys(*names), KEY_BYTES), vectors(*names))


@pytest.fixture(params=["a folder", "object storage"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "a folder":
        return str(tmp_path / "space")
    request.getfixturevalue("storage")
    return f"s3://{BUCKET}/{hashlib.sha256(request.node.name.encode()).hexdigest()[:8]}/space"


def opened(place: str, tmp_path: Path) -> EmbeddingStore:
    if place.startswith("s3:"):
        return ObjectStorageStore(Bucket(place), DIM, tmp_path / "mirror")
    return LocalStore(Path(place), DIM)


def test_it_finds_what_the_store_finds(place, tmp_path):
    for names in ((1, 2, 3), (4,), (5, 6)):
        put(place, *names)
    store = opened(place, tmp_path)
    asked = keys(6, 1, 7, 4, 1)
    found = SharedVectors(place, DIM, store.share_index()).find(asked)
    assert [None if vector is None else vector.tobytes() for vector in found] == [
        None if vector is None else vector.tobytes() for vector in store.find(asked)
    ]
    assert found[2] is None


def test_a_shard_that_is_gone_or_damaged_gives_none(place, tmp_path):
    gone, sound = put(place, 1, 2), put(place, 3)
    bad = concurrent_shards.put(place, pack_keys(keys(4), KEY_BYTES), np.zeros((1, DIM), np.float32))
    index = opened(place, tmp_path).share_index()
    if place.startswith("s3:"):
        for file in ("keys.npy", "embeddings.npy"):
            Bucket(place).remove(f"{gone}/{file}")
    else:
        shutil.rmtree(Path(place) / gone)
    found = SharedVectors(place, DIM, index).find(keys(1, 3, 4, 2))
    assert [vector is None for vector in found] == [True, False, True, True]
    assert found[1] is not None
    assert found[1].tobytes() == vectors(3)[0].tobytes()
    assert len({gone, sound, bad}) == 3
