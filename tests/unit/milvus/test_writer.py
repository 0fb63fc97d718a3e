"""Upserts to a real Milvus Lite: acknowledged records come out in order; one call at a time there, two elsewhere."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.errors import MilvusError
from ingest.core.records import Embedded, Product, Reason, Skipped, Stage
from ingest.core.settings import MilvusSettings
from ingest.milvus import writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SPACE = Space("writer", "1", 4, {})
SKIPPED = Skipped("s", Stage.DECODE, Reason.TRUNCATED, "", 1)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    path: Path = tmp_path_factory.mktemp("lite") / "milvus.db"
    with connect(MilvusSettings(str(path), max_wait=5)) as connection:
        collection = Collection(connection, contract_file.load(contract_file.default_path()), SPACE)
        collection.prepare()
        yield collection


@pytest.fixture
def collection(made: Collection, monkeypatch: pytest.MonkeyPatch) -> Collection:
    monkeypatch.setattr(writer, "MAX_ROWS", 3)
    return made


def record(product_id: str, title: str = "") -> Embedded:
    metadata = {"title": title, "category": "", "colour": "", "price": 1.0, "brand": "", "image": ""}
    return Embedded(Product(product_id, "", metadata, 1), product_id.encode().ljust(32), np.eye(4, dtype=np.float32)[0])


def watched(collection: Collection, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Record the ids under way at each call; fail a call with the id `broken`."""
    seen: list[list[str]] = []
    under_way: list[str] = []
    upsert, lock, lites = collection.connection.upsert, threading.Lock(), threading.Lock()

    def noting(request):
        (ids,) = [field.scalars.string_data.data for field in request.fields_data if field.field_name == "product_id"]
        with lock:
            under_way.extend(ids)
            seen.append(list(under_way))
        if "broken" in ids:
            raise ValueError("no")
        with lites:
            upsert(request)
        with lock:
            for one in ids:
                under_way.remove(one)

    monkeypatch.setattr(collection.connection, "upsert", noting)
    return seen


def test_all_comes_out_in_order_and_is_there(collection):
    records = [record(f"a{number}") for number in range(20)]

    out = list(writer.upsert([*records[:5], SKIPPED, *records[5:]], collection))

    assert [one for one in out if isinstance(one, Embedded)] == records
    assert out.count(SKIPPED) == 1
    assert len(collection.find([f"a{number}" for number in range(20)], ["product_id"])) == 20


def test_the_last_of_one_ids_rows_stays_and_never_are_two_under_way(collection, monkeypatch):
    seen = watched(collection, monkeypatch)
    monkeypatch.setattr(collection.connection, "is_lite", False)
    records = [record(f"b{number % 4}", str(number)) for number in range(24)]

    assert list(writer.upsert(records, collection)) == records

    assert all(len(ids) == len(set(ids)) for ids in seen)
    rows = collection.find(["b0", "b1", "b2", "b3"], ["product_id", "title"])
    assert {row["product_id"]: row["title"] for row in rows} == {f"b{n}": str(20 + n) for n in range(4)}


@pytest.mark.parametrize(("is_lite", "most"), [(True, 3), (False, 6)])
def test_lite_gets_one_call_at_a_time_and_a_server_two(collection, monkeypatch, is_lite, most):
    seen = watched(collection, monkeypatch)
    monkeypatch.setattr(collection.connection, "is_lite", is_lite)

    assert len(list(writer.upsert((record(f"e{number}") for number in range(60)), collection))) == 60

    assert max(map(len, seen)) == most


def test_a_call_that_fails_surfaces_after_what_came_before_it(collection, monkeypatch):
    watched(collection, monkeypatch)
    names = ["c0", "c1", "c2", "c3", "broken", "c5", "c6", "c7", "c8"]
    out = []

    with pytest.raises(MilvusError, match="cannot upsert"):
        out.extend(one.product.product_id for one in writer.upsert(map(record, names), collection))
    out.extend(one.product.product_id for one in writer.upsert(map(record, names[:3]), collection))

    assert out[-3:] == ["c0", "c1", "c2"]


def test_what_is_acknowledged_does_not_wait_for_a_slow_source_to_fill_the_next_batch(collection):
    def slow() -> Iterator[Embedded]:
        for number in range(1000):
            yield record(f"d{number}")
            if number > 3:
                threading.Event().wait(0.01)

    monitored = writer.upsert(slow(), collection)
    assert [next(monitored).product.product_id for _ in range(3)] == ["d0", "d1", "d2"]
    monitored.close()


def sent(collection: Collection, patch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Collect the rows and bytes of each call instead of making it."""
    calls: list[tuple[int, int]] = []
    patch.setattr(collection.connection, "is_lite", False)
    patch.setattr(collection.connection, "upsert", lambda call: calls.append((call.num_rows, call.ByteSize())))
    return calls


def test_a_call_fits_into_a_message_of_64_mb_whatever_the_texts(made, monkeypatch):
    calls = sent(made, monkeypatch)
    records = [record(f"f{number}", "🫖" * 2**20) for number in range(20)]
    assert len(list(writer.upsert(records, made))) == 20
    assert max(size for _, size in calls) < 64 * 10**6
    assert 2 < len(calls) < 20


def test_a_row_larger_than_any_call_goes_alone(made, monkeypatch):
    calls = sent(made, monkeypatch)
    records = [record("g0"), record("g1", "x" * 9 * 2**20), record("g2")]
    assert list(writer.upsert(records, made)) == records
    assert [rows for rows, _ in calls] == [1, 1, 1]


def test_a_call_has_at_most_a_thousand_rows(made, monkeypatch):
    calls = sent(made, monkeypatch)
    assert len(list(writer.upsert((record(f"h{number}") for number in range(2001)), made))) == 2001
    assert sorted(rows for rows, _ in calls) == [1, 1000, 1000]
