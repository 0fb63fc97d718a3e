"""Which shard and row a key has, against a dictionary."""

from __future__ import annotations

import hashlib
import pickle

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ingest.runtime.hash_index import pack_keys
from ingest.store.base import KEY_BYTES
from ingest.store.key_index import KeyIndex

KEYS = st.integers(0, 12).map(lambda number: bytes([number]) * KEY_BYTES)
SHARDS = st.lists(st.lists(KEYS, max_size=6), max_size=8)


def located(index: KeyIndex, keys: list[bytes]) -> dict[bytes, tuple[str, int]]:
    found = {}
    for shard, positions, rows in index.locate(keys):
        for at, row in zip(positions.tolist(), rows.tolist(), strict=True):
            found[keys[at]] = shard, row
    return found


@given(shards=SHARDS, asked=st.lists(KEYS, max_size=10))
def test_a_key_is_found_in_the_shard_put_last(shards, asked):
    index, model = KeyIndex(), {}
    for number, keys in enumerate(shards):
        index.put(f"{number}", pack_keys(keys, KEY_BYTES))
        model.update({key: (f"{number}", row) for row, key in enumerate(keys)})

    assert located(index, asked) == {key: model[key] for key in asked if key in model}
    assert index.contains(asked).tolist() == [key in model for key in asked]
    for number, keys in enumerate(shards):
        expected = [model[key] == (f"{number}", row) for row, key in enumerate(keys)]
        assert index.is_current(f"{number}", pack_keys(keys, KEY_BYTES)).tolist() == expected


@given(shards=SHARDS)
def test_each_shard_comes_once(shards):
    index = KeyIndex()
    for number, keys in enumerate(shards):
        index.put(f"{number}", pack_keys(keys, KEY_BYTES))
    everything = [key for keys in shards for key in keys]

    names = [shard for shard, _, _ in index.locate(everything)]

    assert len(names) == len(set(names))


def test_rows_beyond_two_to_the_24_are_told_apart():
    index = KeyIndex()
    index._end = 2**24 - 1
    shard = np.frombuffer(b"".join(hashlib.sha256(bytes([at])).digest() for at in range(4)), np.uint8).reshape(-1, 32)
    index.put("large", shard)
    index._end += 2**33
    index.put("next", shard[::-1][:1] ^ 1)
    ((name, positions, rows),) = index.locate([key.tobytes() for key in shard])
    assert (name, positions.tolist(), rows.tolist()) == ("large", [0, 1, 2, 3], [0, 1, 2, 3])


@given(shards=SHARDS, asked=st.lists(KEYS, max_size=10))
def test_many_shards_put_at_once_and_shared_are_found_as_if_put_one_by_one(shards, asked):
    packed = {f"{number}": pack_keys(keys, KEY_BYTES) for number, keys in enumerate(shards)}
    one_by_one, at_once = KeyIndex(), KeyIndex()
    for shard, keys in packed.items():
        one_by_one.put(shard, keys)
    at_once.put_all(packed)
    expected = located(one_by_one, asked)
    assert located(at_once, asked) == expected
    assert located(KeyIndex.of(pickle.loads(pickle.dumps(at_once.share()))), asked) == expected
