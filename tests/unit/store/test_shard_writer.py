"""The thread that writes shards: when it writes, what it holds back, and what becomes of its errors."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.stored import DIM, added, assert_holds, embedded

from ingest.core.errors import StorageError
from ingest.core.records import Embedded, Reason, Skipped, Stage
from ingest.store import stage
from ingest.store.local import LocalStore
from ingest.store.shard_writer import ShardWriter

LONG_S = 60.0
"""How long a vector would wait if the test had not failed before."""


class GatedStore(LocalStore):
    """A store that writes nothing while its gate is closed, and notes how many rows it was given at once."""

    def __init__(self, folder, *, min_shard_rows=1):
        super().__init__(folder, DIM)
        self.gate = threading.Event()
        self.added: list[int] = []
        self.min_shard_rows = min_shard_rows

    def add(self, keys, vectors):
        assert self.gate.wait(LONG_S)
        self.added.append(len(keys))
        super().add(keys, vectors)


def skipped(product_id: str) -> Skipped:
    return Skipped(product_id, Stage.DECODE, Reason.TRUNCATED, "cut off", 3)


def waited(writer: ShardWriter, count: int) -> list[Embedded | Skipped]:
    """Take records until there are so many."""
    taken, ends = [], time.monotonic() + LONG_S
    while len(taken) < count and time.monotonic() < ends:
        taken += writer.take()
        time.sleep(0.001)
    return taken


def test_a_lone_vector_is_written_after_a_while_though_nothing_follows(tmp_path):
    store, record = LocalStore(tmp_path, DIM), embedded("a", "mug")
    with ShardWriter(store, rows=100, seconds=0.05) as writer:
        began = time.monotonic()
        writer.put(record)
        assert writer.take() == []
        assert waited(writer, 1) == [record]
        assert time.monotonic() - began >= 0.05
        assert writer.is_empty


def test_a_store_of_large_shards_does_not_get_a_small_one_for_the_time_that_passes(tmp_path):
    store = GatedStore(tmp_path, min_shard_rows=3)
    store.gate.set()
    with ShardWriter(store, rows=1, seconds=0.01) as writer:
        for number in range(2):
            writer.put(embedded(f"p{number}", number))
        time.sleep(0.1)
        assert writer.take() == []
        writer.put(embedded("p2", 2))
        assert len(waited(writer, 3)) == 3
    assert store.added == [3]


def test_vectors_that_come_while_a_shard_is_written_make_the_next_one(tmp_path):
    store = GatedStore(tmp_path)
    with ShardWriter(store, rows=4, seconds=LONG_S) as writer:
        for number in range(10):
            writer.put(embedded(f"p{number}", number))
            assert writer.take() == []
        store.gate.set()
        assert [record.product.product_id for record in writer.take_rest()] == [f"p{number}" for number in range(10)]
    assert store.added == [4, 4, 2]


def test_whoever_puts_waits_while_two_shards_wait_for_the_disk(tmp_path):
    store = GatedStore(tmp_path)
    put = []

    def produce(writer: ShardWriter) -> None:
        for number in range(40):
            writer.put(embedded(f"p{number}", number))
            put.append(number)

    with ShardWriter(store, rows=4, seconds=LONG_S) as writer:
        thread = threading.Thread(target=produce, args=(writer,))
        thread.start()
        time.sleep(0.2)
        assert len(put) == 3 * 4, "one shard is being written, and two wait"
        store.gate.set()
        thread.join(LONG_S)
        assert len(put) == 40
    assert_holds(LocalStore(tmp_path, DIM), *range(40))


def test_stored_vectors_wait_behind_a_new_one_but_not_without_end(tmp_path):
    store = LocalStore(tmp_path, DIM)
    with ShardWriter(store, rows=4, seconds=LONG_S) as writer:
        writer.put(embedded("new", "new"))
        for number in range(8 * 4):
            writer.put(skipped(f"s{number}"))
        assert len(waited(writer, 33)) == 33


def test_stored_vectors_that_come_while_a_shard_is_written_do_not_wait_for_the_next_one(tmp_path):
    store = GatedStore(tmp_path)
    with ShardWriter(store, rows=1, seconds=LONG_S) as writer:
        writer.put(embedded("new", "new"))
        writer.put(skipped("a"))
        time.sleep(0.05)
        writer.put(skipped("b"))
        assert writer.take() == []
        store.gate.set()
        assert [record.product_id for record in waited(writer, 3)[1:]] == ["a", "b"]


def test_an_error_of_the_store_is_raised_where_records_are_put(tmp_path):
    class FullStore(LocalStore):
        def add(self, _keys, _vectors):
            raise StorageError("no space left")

    def source():
        for number in range(1_000):
            drawn.append(number)
            yield embedded(f"p{number}", number)

    drawn: list[int] = []
    with pytest.raises(StorageError, match="no space left"):
        list(stage.append(source(), ShardWriter(FullStore(tmp_path, DIM), rows=4, seconds=LONG_S)))
    assert len(drawn) < 100
    assert not [thread for thread in threading.enumerate() if thread.name == "shards"]


def test_a_run_without_new_vectors_starts_no_thread(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "mug")
    records = [*stage.lookup([], store), skipped("a"), Embedded(embedded("b", "mug").product, b"", None, stored=True)]
    seen = []
    for record in stage.append(iter(records), ShardWriter(store)):
        seen.append(record)
        assert not [thread for thread in threading.enumerate() if thread.name == "shards"]
    assert seen == records


def test_the_time_it_takes_to_write_is_counted_on_the_thread_that_writes(tmp_path):
    threads = []

    @contextmanager
    def at_work():
        threads.append(threading.current_thread().name)
        yield

    list(stage.append([embedded("a", 1)], ShardWriter(LocalStore(tmp_path, DIM), at_work=at_work)))
    assert threads == ["shards"]


@given(st.lists(st.sampled_from(["new", "known", "skipped"]), max_size=60), st.integers(1, 9), st.integers(1, 9))
def test_all_records_come_out_in_order_and_every_new_vector_is_stored(tmp_path_factory, kinds, rows, least):
    store = LocalStore(tmp_path_factory.mktemp("any"), DIM)
    store.min_shard_rows = least
    records = [
        skipped(f"p{number}")
        if kind == "skipped"
        else replace(embedded(f"p{number}", number % 7), stored=kind == "known")
        for number, kind in enumerate(kinds)
    ]
    assert list(stage.append(iter(records), ShardWriter(store, rows, seconds=0.001))) == records
    assert_holds(LocalStore(store.folder, DIM), *{number % 7 for number, kind in enumerate(kinds) if kind == "new"})
