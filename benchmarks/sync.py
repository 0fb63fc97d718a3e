"""Bringing a collection in step with a catalog: first load, nothing to do, 1 % changed, 1 % pruned; and a plain loop.

    python benchmarks/sync.py --uri http://localhost:19530 [--quick] [--json FILE]

Vectors (256-dim) are put straight into the store, so that no model and no images are needed. Measured are reading the
catalog, comparing it with the collection, and applying the difference.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from bench import finish, parser

from ingest.catalog import reader as catalog_reader
from ingest.catalog.rows import Columns
from ingest.core import contract_file
from ingest.core.contract import Space
from ingest.core.records import ImageFile, Product
from ingest.core.settings import MilvusSettings
from ingest.milvus import reader, writer
from ingest.milvus.collection import Collection
from ingest.milvus.connection import connect
from ingest.pipeline.spill import spill
from ingest.runtime import parallel
from ingest.store.local import LocalStore
from ingest.store.stage import lookup
from ingest.sync import diff
from ingest.sync.row_state import RowState
from ingest.tasks.run import FLUSHED_FROM

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ingest.core.contract import Contract
    from ingest.core.records import Embedded, Skipped

ROWS, QUICK_ROWS, DIM = 200_000, 20_000, 256
SHARD = 8192
REST_S = 60.0  # the server looks for segments to compact once a minute
SPACE = Space("benchmark", "1", DIM, {})
PARTS = ("first_load", "noop", "one_percent_changed", "one_percent_pruned")


def main() -> None:
    flags = parser(__doc__)
    flags.add_argument("--uri", required=True, help="a Milvus server to write to")
    flags.add_argument("--part", help=argparse.SUPPRESS)
    flags.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = flags.parse_args()
    count = QUICK_ROWS if arguments.quick else ROWS
    if arguments.part:
        print(json.dumps(part(arguments.part, arguments.folder, arguments.uri, count)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = measured(Path(folder), arguments.uri, count, quick=arguments.quick)
    by_name = {result["what"]: result for result in results}
    first = by_name["first_load"]
    ratios = {
        "noop_s": by_name["noop"]["seconds"],
        "one_percent_share": round(by_name["one_percent_changed"]["seconds"] / first["seconds"], 4),
        "peak_mb": max(by_name[name]["peak_mb"] for name in PARTS),
        "vs_plain_upsert": round(first["rows_per_s"] / by_name["plain_upsert"]["rows_per_s"], 3),
    }
    finish("sync", results, ratios, arguments.json, ("pymilvus", "numpy"))


def measured(folder: Path, uri: str, count: int, *, quick: bool) -> list[dict[str, Any]]:
    """Run each part in its own process, to measure its peak memory; return the figures."""
    prepare(folder, count)
    results = []
    for name in ("plain_upsert", *PARTS):
        if name == "one_percent_changed":
            write_catalog(folder, count, changed=count // 100)
        if name == "one_percent_pruned":
            write_catalog(folder, count - count // 100, changed=count // 100)
        command = [sys.executable, __file__, "--uri", uri, "--part", name, "--folder", str(folder)]
        done = subprocess.run([*command, *(["--quick"] if quick else [])], check=True, stdout=subprocess.PIPE)
        results.append(json.loads(done.stdout))
    return results


def prepare(folder: Path, count: int) -> None:
    """Write the catalog, and the vectors of all its images."""
    write_catalog(folder, count)
    store = LocalStore(folder / "store", DIM)
    chance = np.random.default_rng(0)
    for start in range(0, count, SHARD):
        numbers = range(start, min(start + SHARD, count))
        vectors = chance.normal(size=(len(numbers), DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        store.add([key_of(f"{number}.jpg") for number in numbers], vectors.astype(np.float32))


def write_catalog(folder: Path, count: int, changed: int = 0) -> None:
    with (folder / "products.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("product_id", "image", "title", "category", "colour", "price", "brand"))
        for n in range(count):
            title = f"Product {n}" + " renamed" * (n < changed)
            table.writerow((f"P{n:07d}", f"{n}.jpg", title, "mugs", "red", f"{n % 97}.5", "Acme"))


def key_of(image: str) -> bytes:
    return hashlib.sha256(image.encode()).digest()


def pictures(folder: Path, contract: Contract) -> Iterator[ImageFile | Skipped]:
    for record in catalog_reader.read_catalog(folder / "products.csv", contract, Columns()):
        yield ImageFile(record, folder, key_of(record.image)) if isinstance(record, Product) else record


def stored(records: Iterable[ImageFile | Skipped], store: LocalStore) -> Iterator[Embedded | Skipped]:
    """Give every image its vector, which the store has."""
    for record in lookup(records, store):
        assert not isinstance(record, ImageFile)
        yield record


def part(name: str, folder: Path, uri: str, count: int) -> dict[str, Any]:
    contract = contract_file.load(contract_file.default_path())
    store = LocalStore(folder / "store", DIM)
    with connect(MilvusSettings(uri, max_wait=60)) as connection:
        collection = Collection(connection, contract, SPACE)
        if name in ("plain_upsert", "first_load") and collection.exists():
            connection.client.drop_collection(collection.name)
        collection.prepare()
        base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, cpu = time.monotonic(), time.process_time()
        touched = (plain if name == "plain_upsert" else synced)(folder, collection, store)
        seconds, cpu = time.monotonic() - started, time.process_time() - cpu
        at_rest(collection, 0 if count < ROWS else REST_S)
        assert collection.count() == count - count // 100 * (name == "one_percent_pruned")
    done = touched if name != "noop" else count
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "what": name, "rows": done, "seconds": round(seconds, 2), "cpu_seconds": round(cpu, 2),
        "rows_per_s": round(done / seconds, 1), "peak_mb": round(peak / 1024, 1),
        "peak_before_mb": round(base / 1024, 1),
    }  # fmt: skip


def at_rest(collection: Collection, seconds: float) -> None:
    """Wait until the server has indexed everything, also after compaction, so that the next part has the machine."""
    collection.wait_for_index(threading.Event())
    since = time.monotonic()
    while time.monotonic() - since < seconds:
        time.sleep(1)
        if collection.index().get("pending_index_rows"):
            collection.wait_for_index(threading.Event())
            since = time.monotonic()


def synced(folder: Path, collection: Collection, store: LocalStore) -> int:
    """Do what a run does from the catalog to the flush; return the rows written and deleted."""
    difference = diff.CollectionDiff(reader.read_inventory(collection, store), SPACE.fingerprint)
    known = stored(difference.changes(pictures(folder, collection.contract)), store)
    written = sum(1 for _ in difference.failures(writer.upsert(spill(known, store, 2048, folder), collection)))
    deleted = 0
    for batch in parallel.batched((product_id for product_id, _ in difference.inventory.ids({RowState.GONE})), 1000):
        collection.delete(batch)
        deleted += len(batch)
    if written + deleted >= FLUSHED_FROM:
        collection.flush()
    return written + deleted


def plain(folder: Path, collection: Collection, store: LocalStore) -> int:
    """Upsert as people write it by hand: read rows, build dictionaries, call `MilvusClient.upsert` 1,000 at a time."""
    client, done = collection.connection.client, 0
    batch: list[dict[str, Any]] = []

    def send() -> None:
        client.upsert(collection.name, batch)
        batch.clear()

    with (folder / "products.csv").open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            key = key_of(row["image"])
            vector = store.find([key])[0]
            assert vector is not None
            batch.append({**row, "price": float(row["price"]), "embedding": vector.tolist(), "row_digest": "0" * 32,
                          "image_sha256": key.hex()})  # fmt: skip
            done += 1
            if len(batch) == 1000:
                send()
    if batch:
        send()
    client.flush(collection.name)
    return done


if __name__ == "__main__":
    main()
