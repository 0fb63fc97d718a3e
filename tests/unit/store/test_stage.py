"""The store's stages: what is stored goes past the model, and nothing new goes on before it is on disk."""

from __future__ import annotations

import numpy as np
import pytest
from support.stored import DIM, added, assert_holds, embedded, folders, picture, vector

from ingest.core.records import Embedded, ImageFile, Reason, Skipped, Stage
from ingest.store import stage
from ingest.store.local import LocalStore
from ingest.store.shard_writer import ShardWriter


def test_two_products_that_share_a_picture_share_its_vector(tmp_path):
    store = LocalStore(tmp_path, DIM)
    list(stage.append([embedded("a", "mug"), embedded("b", "mug")], ShardWriter(store, 8)))
    assert store.rows == 1
    found = list(stage.lookup([picture("a", "mug"), picture("b", "mug")], store))
    assert [record.product.product_id for record in found] == ["a", "b"]
    assert all((record.vector == vector("mug")).all() for record in found)


def test_an_id_whose_picture_becomes_anothers_gets_that_ones_vector(tmp_path):
    store = LocalStore(tmp_path, DIM)
    list(stage.append([embedded("a", "mug"), embedded("b", "chair")], ShardWriter(store, 8)))
    found = list(stage.lookup([picture("a", "chair"), picture("b", "lamp")], store))
    assert isinstance(found[0], Embedded)
    np.testing.assert_array_equal(found[0].vector, vector("chair"))
    assert isinstance(found[1], ImageFile)


def test_lookup_keeps_the_order_and_passes_the_skipped(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "known")
    skipped = Skipped("s", Stage.IMAGES, Reason.NOT_FOUND, "gone", 3)
    records = [picture("a", "new"), skipped, picture("b", "known"), picture("c", "new")]
    found = list(stage.lookup(records, store))
    assert found[:2] == records[:2]
    assert isinstance(found[2], Embedded)
    assert found[2].product == records[2].product
    assert found[3] == records[3]


def test_nothing_passes_before_it_is_on_disk(tmp_path):
    store = LocalStore(tmp_path, DIM)
    records = [embedded(f"p{number}", number) for number in range(10)]
    passed = 0
    for record in stage.append(records, ShardWriter(store, 4)):
        assert_holds(LocalStore(tmp_path, DIM), records[passed].product.product_id.removeprefix("p"))
        assert record is records[passed]
        passed += 1
    assert passed == 10
    assert len(folders(store)) == 3


def test_records_pass_in_order_and_known_ones_are_not_written_again(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "known")
    skipped = Skipped("s", Stage.DECODE, Reason.TRUNCATED, "cut off", 4)
    records = [embedded("a", "known"), embedded("b", 1), skipped, embedded("c", "known"), embedded("d", 2)]
    assert list(stage.append(records, ShardWriter(store, 2))) == records
    assert store.rows == 3


def test_what_comes_from_the_store_is_not_read_from_it_again(tmp_path, monkeypatch):
    store = LocalStore(tmp_path, DIM)
    added(store, "mug", "chair")
    found = list(stage.lookup([picture("a", "mug"), picture("b", "chair")], store))
    monkeypatch.setattr(store, "take", None)
    assert list(stage.append(found, ShardWriter(store, 1))) == found


def test_what_was_computed_is_kept_when_the_consumer_stops(tmp_path):
    store = LocalStore(tmp_path, DIM)
    stream = stage.append((embedded(f"p{number}", number) for number in range(10)), ShardWriter(store, 4))
    next(stream)
    stream.close()
    assert_holds(LocalStore(tmp_path, DIM), 0, 1, 2, 3)


def test_what_was_computed_is_kept_when_the_source_fails(tmp_path):
    def failing():
        yield embedded("a", 1)
        yield embedded("b", 2)
        raise RuntimeError("the model fell over")

    store = LocalStore(tmp_path, DIM)
    with pytest.raises(RuntimeError, match="fell over"):
        list(stage.append(failing(), ShardWriter(store, 8)))
    assert_holds(LocalStore(tmp_path, DIM), 1, 2)


def test_one_new_vector_does_not_hold_up_a_million_known_ones(tmp_path):
    store = LocalStore(tmp_path, DIM)
    added(store, "known")
    drawn = 0

    def source():
        nonlocal drawn
        yield embedded("new", "new")
        for drawn in range(1_000_000):
            yield embedded(f"p{drawn}", "known")

    stream = stage.append(source(), ShardWriter(store, 4))
    assert next(stream).product.product_id == "new"
    assert drawn < 1000
    stream.close()
