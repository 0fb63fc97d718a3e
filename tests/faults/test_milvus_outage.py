"""Milvus killed, paused, cut off and restarted under an upsert: no row is lost and none doubled, by waiting alone."""

from __future__ import annotations

import os
import random
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.milvus_server import Server, milvus_server

from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.digest import row_digest
from ingest.core.records import Embedded, Product
from ingest.core.settings import MilvusSettings
from ingest.milvus import reader, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline.spill import spill
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS, DIM = 20_000, 64
MAX_WAIT_S = 180.0
SOAK = bool(os.environ.get("INGEST_SOAK"))
OUTAGES = ["pause", "disconnect", "kill", "restart while it flushes"]
ROUNDS = 20 if SOAK else 2  # a server that was killed takes the better part of a minute to come back
SPACE = Space("outage", "1", DIM, {})


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with milvus_server() as server:
        yield server


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> LocalStore:
    store = LocalStore(tmp_path_factory.mktemp("outage") / "store", DIM)
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.add([number.to_bytes(32, "big") for number in range(ROWS)], vectors.astype(np.float32))
    return store


def records(store: LocalStore, title: str, count: int = ROWS) -> Iterator[Embedded]:
    for number in range(count):
        key = number.to_bytes(32, "big")
        metadata = {"title": title, "category": "", "colour": "", "price": 1.0, "brand": "", "image": ""}
        vector = store.find([key])[0]
        assert vector is not None
        yield Embedded(Product(f"P{number}", "", metadata, number), key, vector)


def outage(kind: str, server: Server, seconds: float) -> None:
    down, up = {
        "kill": (server.kill, server.start),
        "pause": (server.pause, server.unpause),
        "disconnect": (server.disconnect, server.connect),
        "restart while it flushes": (server.restart, server.wait),
    }[kind]
    down()
    time.sleep(seconds)
    up()


@pytest.mark.parametrize("number", range(ROUNDS))
def test_an_upsert_loses_and_doubles_nothing(
    server: Server, store: LocalStore, tmp_path: Path, number: int, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = OUTAGES[number % len(OUTAGES)]
    chance = random.Random(number)
    at = chance.randrange(ROWS // 10, ROWS * 9 // 10)
    seconds = 20.0 if kind == "pause" and SOAK else chance.uniform(1, 4)
    contract = contract_file.load(contract_file.default_path())
    title = f"round {number}"
    started = time.monotonic()
    with connect(MilvusSettings(server.uri, max_wait=MAX_WAIT_S)) as connection, ThreadPoolExecutor(1) as pool:
        collection = Collection(connection, contract, SPACE)
        collection.prepare()
        broken = None
        for row, _ in enumerate(writer.upsert(spill(records(store, title), store, 512, tmp_path), collection), 1):
            if row == at:
                if kind.endswith("flushes"):
                    pool.submit(_quietly, lambda: connection.client.flush(collection.name, timeout=5))
                broken = pool.submit(outage, kind, server, seconds)
        assert broken is not None
        broken.result()
        collection.flush()
        collection.load()
        there = reader.read_inventory(collection, store)

        wanted = {
            record.product.product_id: row_digest(record.product, record.sha256, SPACE.fingerprint)
            for record in records(store, title)
        }
        assert (collection.count(), len(there), there.count_duplicates()) == (ROWS, ROWS, 0)
        names = there.where(np.ones(len(there), bool))
        assert {name: there.digest(place) for place, name in enumerate(names)} == wanted
    with capsys.disabled():
        took = time.monotonic() - started
        print(f"\n{kind} for {seconds:.1f} s at row {at}: {ROWS} rows, 0 lost, 0 doubled, {took:.1f} s", end="")  # noqa: T201


def _quietly(call: Callable[[], object]) -> None:
    thread = threading.Thread(target=_ignored, args=(call,), daemon=True)
    thread.start()
    thread.join(0.2)


def _ignored(call: Callable[[], object]) -> None:
    try:
        call()
    except Exception:  # noqa: BLE001  the server goes down under it, which is the point
        return
