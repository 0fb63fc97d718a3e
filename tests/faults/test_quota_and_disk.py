"""A server that lets little through is waited for, a disk that is full is one line, and a search never fails."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from support.milvus_server import milvus_server
from support.shop import contract_in
from support.small_shop import SmallShop

from faults.test_milvus_outage import DIM, SPACE, records
from ingest.core import contract_file
from ingest.core.errors import StorageError
from ingest.core.settings import MilvusSettings
from ingest.milvus import reader, versions, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline.spill import spill
from ingest.store.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMITS = {"UPSERTRATE", "INSERTRATE", "DELETERATE"}
QUOTA = {"QUOTAANDLIMITS_ENABLED": "true", "QUOTAANDLIMITS_DML_ENABLED": "true"} | {
    f"QUOTAANDLIMITS_DML_{limit}_{scope}": "0.25" for limit in LIMITS for scope in ("MAX", "COLLECTION_MAX")
}
ROWS = 5_000


def test_upserts_held_to_250_kilobytes_a_second_all_arrive(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    store = LocalStore(tmp_path / "store", DIM)
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIM))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    store.add([number.to_bytes(32, "big") for number in range(ROWS)], vectors.astype(np.float32))

    with milvus_server(**QUOTA) as server, connect(MilvusSettings(server.uri, max_wait=60)) as connection:
        collection = Collection(connection, contract_file.load(contract_file.default_path()), SPACE)
        collection.prepare()
        started = time.monotonic()
        with caplog.at_level(logging.WARNING, "ingest"):
            done = sum(1 for _ in writer.upsert(spill(records(store, "x", ROWS), store, 512, tmp_path), collection))
        seconds = time.monotonic() - started
        collection.flush()
        there = reader.read_inventory(collection, store)

    assert (done, len(there), there.count_duplicates()) == (ROWS, ROWS, 0)
    assert any("rate limit" in said for said in caplog.messages), f"{ROWS} rows in {seconds:.0f} s"
    assert len(caplog.messages) <= 2 + seconds / 10, "a line every ten seconds, not one for each refusal"


@pytest.fixture
def little_room(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte, where one can be mounted."""
    folder = tmp_path / "little"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=False, capture_output=True
    )
    if mounted.returncode:
        pytest.skip("a small file system cannot be mounted here: it takes root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(ballast: Path) -> None:
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(1024))


@pytest.mark.parametrize("place", ["embeddings", "image_cache", "runs"])
def test_a_full_disk_is_one_line_and_the_next_run_goes_on(tmp_path: Path, little_room: Path, place: str) -> None:
    shop = SmallShop(tmp_path / "shop")
    shop.stock({f"P{number}": (number, f"Product {number}") for number in range(30)})
    shop.settings = replace(shop.settings, uri=str(tmp_path / "milvus.db"))
    shop.settings.data.mkdir()
    (shop.settings.data / place).symlink_to(little_room)
    ballast = little_room / "ballast"
    fill(ballast)

    with pytest.raises(StorageError) as raised:
        shop.run()
    assert "\n" not in str(raised.value)

    ballast.unlink()
    outcome = shop.run()
    assert outcome.summary.upserted + outcome.summary.unchanged == 30
    assert len(shop.rows()) == 30
    assert shop.verify().differing == []


# Milvus Lite leaves a file of its log open if it cannot write it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_full_disk_under_a_milvus_lite_file_is_one_line_and_the_next_run_goes_on(
    tmp_path: Path, little_room: Path
) -> None:
    shop = SmallShop(tmp_path / "shop", str(little_room / "milvus.db"))
    shop.stock({f"P{number}": (number, f"Product {number}") for number in range(30)})
    shop.run()
    fill(little_room / "ballast")
    ballast = (little_room / "ballast").stat().st_size
    shop.stock({f"P{number}": (number, f"Another name of product {number} " + "x" * 900) for number in range(30)})

    said = set()
    for room in (0, 4, 8, 16, 24):
        os.truncate(little_room / "ballast", ballast - 1024 * room)
        for changes in ({}, {"model": "model-2"}):
            with pytest.raises(StorageError) as raised:
                shop.run(**changes)
            said.add(str(raised.value).removeprefix(str(little_room)))
        fill(little_room / "ballast")
    assert "/milvus.db: cannot be written (No space left on device); make room, or pass --uri on another disk" in said
    assert not any("\n" in line for line in said)

    (little_room / "ballast").unlink()
    shop.run()
    assert len(shop.rows()) == 30
    assert shop.verify().differing == []
    assert {row["title"][:7] for row in shop.rows().values()} == {"Another"}


def test_a_search_through_the_alias_meets_no_error_and_no_gap_while_the_model_changes(
    tmp_path: Path, milvus_uri: str, collection_name: str
) -> None:
    shop = SmallShop(tmp_path, milvus_uri, schema=contract_in(tmp_path, collection_name))
    shop.stock({f"P{number}": (number, f"Product {number}") for number in range(50)})
    shop.run()
    done, found, errors = threading.Event(), [], []

    def look() -> None:
        with shop.client() as client:
            while not done.is_set():
                try:
                    hits = client.search(
                        collection_name, data=[np.eye(8, dtype=np.float32)[0]], limit=5, output_fields=["title"],
                        search_params={"metric_type": "IP", "params": {"ef": 64}},
                    )  # fmt: skip
                    found.append(len(hits[0]))
                except Exception as error:  # noqa: BLE001  any error at all fails the test
                    errors.append(str(error))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        shop.run(model="model-2")
        shop.run(model="model-1")
        with shop.connection() as connection:
            versions.rollback(connection, collection_name)
    finally:
        done.set()
        thread.join()

    # Milvus 2.3.5 now and then answers a search with one of these at the very moment its alias is altered, or when it
    # moves a collection's channels by itself on a busy machine; nothing was dropped or released here. Any other error,
    # or a fourth one, is ours.
    own = ("can't find collection name", "channel not available", "channel not subscribed", "collection not found")
    assert [error for error in errors if not any(words in error for words in own)] == []
    assert len(errors) <= 3
    assert len(found) > 5
    assert set(found) == {5}
    assert shop.releases(collection_name)[0].model == "model-2"


def test_two_processes_with_two_stores_keep_one_collection_right(
    tmp_path: Path, milvus_uri: str, collection_name: str
) -> None:
    schema = contract_in(tmp_path, collection_name)
    shops = [SmallShop(tmp_path / name, milvus_uri, schema=schema) for name in ("one", "two")]
    for shop in shops:
        shop.stock({f"P{number}": (number, f"Product {number}") for number in range(60)})
    script = (
        "import sys, pathlib; from support.small_shop import SmallShop; "
        "SmallShop(pathlib.Path(sys.argv[1]), sys.argv[2], schema=pathlib.Path(sys.argv[3])).run()"
    )
    path = os.pathsep.join((str(Path(__file__).parents[2]), str(Path(__file__).parents[1])))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", script, shop.folder, milvus_uri, schema], env={**os.environ, "PYTHONPATH": path}
        )
        for shop in shops
    ]
    codes = [process.wait(120) for process in processes]

    assert 0 in codes
    for shop in shops:
        shop.run()
    assert len(shops[0].rows(collection_name)) == 60
    assert shops[0].verify().differing == shops[1].verify().differing == []
