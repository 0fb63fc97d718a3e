"""A slow consumer does not hold up the producer, and gets everything in order."""

from __future__ import annotations

import threading
from dataclasses import replace

import numpy as np
import pytest

from ingest.core.records import Embedded, Product, Reason, Skipped, Stage
from ingest.pipeline import spill as module
from ingest.pipeline.spill import spill
from ingest.store.local import LocalStore

DIM = 4


def record(number: int) -> Embedded:
    vector = np.zeros(DIM, np.float32)
    vector[number % DIM] = 1
    return Embedded(
        Product(f"P{number}", "x.png", {"title": f"é {number}"}, number), number.to_bytes(32, "big"), vector
    )


@pytest.fixture(autouse=True)
def _spill_soon(monkeypatch):
    monkeypatch.setattr(module, "_PATIENCE_S", 0.1)


@pytest.fixture
def store(tmp_path):
    store = LocalStore(tmp_path / "store", DIM)
    records = [record(number) for number in range(1000)]
    store.add([one.sha256 for one in records], np.stack([one.vector for one in records]))
    return store


def test_the_source_runs_to_its_end_while_the_consumer_waits(store, tmp_path):
    done = threading.Event()

    def source():
        for number in range(1000):
            yield Skipped("s", Stage.IMAGES, Reason.NOT_FOUND, "", number) if number % 100 == 50 else record(number)
        done.set()

    records = spill(source(), store, 8, tmp_path)
    first = next(records)
    assert done.wait(20), "though only one record was taken and memory holds 8"
    found = [first, *records]

    assert [one.line if isinstance(one, Skipped) else one.product.line for one in found] == list(range(1000))
    assert all(
        np.array_equal(one.vector, record(one.product.line).vector) for one in found if isinstance(one, Embedded)
    )


def test_an_error_is_raised_after_the_records_before_it(store, tmp_path):
    def source():
        yield from (record(number) for number in range(30))
        raise RuntimeError("the source")

    records = spill(source(), store, 2, tmp_path)
    assert [next(records).product.line for _ in range(30)] == list(range(30))
    with pytest.raises(RuntimeError, match="the source"):
        next(records)


def test_a_consumer_that_stops_ends_the_producer(store, tmp_path):
    closed = threading.Event()

    def source():
        try:
            while True:
                yield record(1)
        finally:
            closed.set()

    records = spill(source(), store, 2, tmp_path)
    next(records)
    records.close()

    assert closed.is_set()


def test_spilled_records_come_back_unchanged(store, tmp_path):
    metadata = {"title": "two\nlines, “é” 🫖\u2028\x00", "count": -(2**63), "price": 0.1, "whole": 1.0, "sold": True}
    products = [Product(f"P{number}", "a\nb.png", metadata, number, "é.csv") for number in range(9)]
    sent = [replace(record(product.line), product=product) for product in products]
    sent += [Skipped("é\n", stage, reason, "why\n", 7, "a/b.csv", is_torn=True) for stage in Stage for reason in Reason]
    done = threading.Event()

    def source():
        yield from sent
        done.set()

    records = spill(source(), store, 1, tmp_path)
    found = [next(records)]
    assert done.wait(20)
    found += records

    assert [repr(getattr(one, "product", one)) for one in found] == [repr(getattr(one, "product", one)) for one in sent]
    assert all(one.sha256 == other.sha256 for one, other in zip(found[:9], sent[:9], strict=True))
    assert {type(one.stage) for one in found[9:]} == {Stage}
    assert {type(one.reason) for one in found[9:]} == {Reason}
